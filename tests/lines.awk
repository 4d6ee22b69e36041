# Lines of Rust by crate, for `make lines`: code, tests and documentation. Code is what is neither blank nor a comment, outside
# `#[cfg(test)]`, tests, benches, examples and the crates of tests; the budget of each crate stands in budgets.txt.
# usage: awk -f lines.awk budgets.txt FILE...

FNR == 1 {
    in_tests = FILENAME ~ /(^|\/)(tests|benches|examples|fuzz|bench)\// || FILENAME ~ /\/tests\.rs$/
    crate = FILENAME
    if (!sub(/\/(src|tests|benches|examples)\/.*/, "", crate)) crate = "other"
}
ARGIND == 1 || FILENAME ~ /budgets\.txt$/ { if ($0 !~ /^#/ && NF == 2) budget[$1] = $2; next }
/^#\[cfg\(test\)\]/ { in_tests = 1 }
/^[[:space:]]*$/ { next }
/^[[:space:]]*\/\// { docs[crate]++; seen[crate]; next }
{ seen[crate]; if (in_tests) tests[crate]++; else code[crate]++ }

END {
    printf "%-28s %8s %8s %8s %8s\n", "crate", "code", "budget", "tests", "comments"
    n = 0
    for (crate in seen) names[++n] = crate
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (names[j] < names[i]) { t = names[i]; names[i] = names[j]; names[j] = t }
    for (i = 1; i <= n; i++) {
        crate = names[i]
        printf "%-28s %8d %8s %8d %8d%s\n", crate, code[crate], budget[crate], tests[crate], docs[crate],
            (crate in budget && code[crate] > budget[crate] ? "   over its budget" : "")
        if (crate in budget && code[crate] > budget[crate]) over++
        all += code[crate]; all_tests += tests[crate]; all_docs += docs[crate]; all_budget += budget[crate]
    }
    printf "%-28s %8d %8d %8d %8d\n", "in all", all, all_budget, all_tests, all_docs
    exit over > 0
}
