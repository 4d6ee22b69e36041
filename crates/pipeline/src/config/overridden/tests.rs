//! What is said of overrides of the command line.

use std::path::{Path, PathBuf};

use super::*;

/// What is said of overrides of `digits-matching`, on some of its branches.
fn said(overrides: &[&str], names: &[&str]) -> String {
    said_of("digits-matching", overrides, names)
}

fn said_of(pipeline: &str, overrides: &[&str], names: &[&str]) -> String {
    said_of_file(&repository_file(pipeline), overrides, names)
}

fn repository_file(pipeline: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../pipelines/{pipeline}.yaml"))
}

fn said_of_file(path: &Path, overrides: &[&str], names: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|given| (*given).to_owned()).collect();
    let chosen: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let all = match crate::config::load_with(path, &overrides, None, None, &chosen) {
        Ok(branches) => branches,
        Err(error) => return error.to_string().split_once(": at ").expect("a key").1.to_owned(),
    };
    let mut branches = all.clone();
    branches.retain(|branch| names.is_empty() || chosen.contains(&branch.group));
    notes(&all, &branches).map_or_else(|invalid| invalid.to_string(), |notes| notes.join("\n"))
}

#[test]
fn an_override_that_some_branches_set_themselves_is_noted_with_the_key_that_counts() {
    let key = "synthesize.matching.image_optimizer.lr=2";
    assert_eq!(
        said(&[key], &["dm", "mtt"]),
        format!(
            "{key} does not reach mtt, which sets `synthesize.matching.image_optimizer.lr` in `branches`; branches.mtt.{key} does"
        )
    );
    assert_eq!(said(&[key], &["dm"]), "");
    assert_eq!(said(&[key, &format!("branches.mtt.{key}")], &["dm", "mtt"]), "", "the key was known");
}

#[test]
fn that_iterations_do_not_reach_a_branch_without_synthesis_is_no_news() {
    let iterations = "synthesize.max_iterations=50";
    assert_eq!(said_of("digits", &[iterations], &["random", "delt"]), "");
    assert_eq!(
        said_of("digits", &[iterations], &["random"]),
        format!("{iterations} changes nothing: no image is synthesized in random")
    );
}

#[test]
fn an_override_that_reaches_a_branch_that_is_left_out_is_noted() {
    let strategy = "select.strategy=top";
    assert_eq!(
        said_of("digits", &[strategy], &["random"]),
        format!(
            "{strategy} does not reach random, which sets `select.strategy` in `branches`; branches.random.{strategy} does"
        )
    );
}

#[test]
fn of_a_section_only_the_keys_that_it_names_are_compared() {
    assert_eq!(said_of("digits", &[r#"select={"ipc":3}"#], &[]), "");
    let both = r#"select={"ipc":3,"strategy":"top"}"#;
    assert_eq!(
        said_of("digits", &[both], &[]),
        format!(
            "{both} does not wholly reach random, which sets `select.strategy` in `branches`; branches.random.{both} does"
        )
    );
    let one = r#"select={"strategy":"top"}"#;
    assert!(said_of("digits", &[one], &[]).starts_with(&format!("{one} does not reach random, which")));
}

#[test]
fn a_branch_that_is_not_there_cannot_be_left_out() {
    let expected = "`branches.detl`: found null, which leaves out a branch, but none is called so; did you mean `delt`? there are: \
        random, delt";
    assert_eq!(said_of("digits", &["branches.detl=null"], &[]), expected);
    assert_eq!(said_of("digits", &[r#"branches={"detl":null}"#], &[]), expected);
    assert_eq!(said_of("digits", &["branches.delt=null"], &[]), "");
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("without.yaml");
    let digits = repository_file("digits").display().to_string();
    std::fs::write(&path, format!("extends: {digits}\nbranches: {{detl: null}}")).expect("written");
    assert_eq!(said_of_file(&path, &[], &[]), expected);
}

#[test]
fn a_branch_like_one_that_is_none_is_refused_and_not_offered_itself() {
    assert_eq!(
        said_of("digits", &["branches.mine={like: detl}"], &[]),
        "`branches.mine`: `like` is `detl`, but no branch is called so; did you mean `delt`? there are: random, delt"
    );
    assert_eq!(
        said_of("digits", &["branches.mine={like: [delt]}"], &[]),
        "`branches.mine`: `like` is a list, expected the name of a branch"
    );
    let gone = said_of("digits", &["branches.random=null", "branches.mine={like: random}"], &[]);
    assert!(gone.ends_with("`like` is `random`, but no branch is called so; there are: delt"), "{gone}");
}

#[test]
fn an_override_inside_of_a_branch_that_is_none_is_refused() {
    assert_eq!(
        said_of("digits", &["branches.dlet.synthesize.lr=0.3"], &[]),
        "`branches.dlet.synthesize.lr`: found on the command line, but no branch is called so; did you mean `delt`? there are: \
         random, delt; a new one says which of them it is like: branches.dlet.like=random"
    );
    let frepo = said(&["branches.frpo.synthesize.method.pool=2"], &[]);
    assert!(frepo.contains("did you mean `frepo`?"), "{frepo}");
    let new = ["branches.mine.like=delt", "branches.mine.synthesize.lr=0.3"];
    assert_eq!(said_of("digits", &new, &[]), "");
}

#[test]
fn a_new_branch_that_may_be_a_misspelled_one_is_said_whichever_are_chosen() {
    let new = ["branches.delta={synthesize: {lr: 0.3}}", "draws=[1,2,3]"];
    for chosen in [&[][..], &["delt"]] {
        assert_eq!(said_of("digits", &new, chosen), "a new branch `delta`; did you mean `delt`?");
    }
    assert_eq!(said_of("digits", &["branches.delta={like: delt, seed: 1}"], &[]), "");
    for slip in ["detl", "Delt"] {
        let like = format!("branches.{slip}={{like: delt, seed: 1}}");
        let asked = format!("a new branch `{slip}`; did you mean `delt`?");
        assert_eq!(said_of("digits", &[&like], &[]), asked);
    }
    assert_eq!(said_of("digits", &["branches.delt-2={like: delt, seed: 1}"], &[]), "");
    assert_eq!(said_of("digits", &["branches.mine={synthesize: {lr: 0.3}}"], &[]), "");
    assert_eq!(said_of("digits", &["branches.delt={synthesize: {lr: 0.3}}"], &[]), "");
}

#[test]
fn a_key_with_two_values_is_refused_and_one_that_is_said_twice_is_not() {
    assert_eq!(
        said_of("digits", &["select.ipc=5", "seed=1", "select.ipc=10"], &[]),
        "`select.ipc`: found twice on the command line, as 5 and as 10; keep the one that is meant"
    );
    assert_eq!(said_of("digits", &["relabel.seeds=[1, 2]", "relabel.seeds=[1,2]"], &[]), "");
    let in_section = |overrides: &[&str]| said_of("digits", overrides, &[]);
    let expected = "`select.ipc`: found twice on the command line, as 3 and as 2; keep the one that is meant";
    assert_eq!(in_section(&[r#"select={"ipc":3}"#, "select.ipc=2"]), expected);
    assert_eq!(in_section(&["select.ipc=3", r#"select={"ipc":2}"#]), expected);
    assert_eq!(in_section(&[r#"select={"ipc":3}"#, "select.ipc=3"]), "");
    let student = in_section(&["evaluate.student={name: mobilenet_v2}", "evaluate.student.name=wrn_16_2"]);
    assert!(student.starts_with("`evaluate.student.name`: found twice"), "{student}");
    assert_eq!(in_section(&["evaluate.student.depth=2", "evaluate.student.name=convnet"]), "");
    let mix = in_section(&["relabel.mix=null", "relabel.mix.alpha=0.5"]);
    assert!(mix.contains(r#"`relabel.mix`: found twice on the command line, as null and as {"alpha":0.5}"#));
}

#[test]
fn an_override_that_reaches_no_branch_is_refused_with_the_keys_that_would() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("both.yaml");
    let digits = repository_file("digits").display().to_string();
    let text = format!("extends: {digits}\nbranches: {{delt: {{select: {{strategy: min}}}}}}");
    std::fs::write(&path, text).expect("written");
    let key = "select.strategy=top";
    let expected = |names: &str, keys: &str| {
        format!(
            "`select.strategy`: found on the command line, but it reaches no branch: not {names} `select.strategy` in `branches`; \
            set {keys}"
        )
    };
    let [random, delt] = ["random", "delt"].map(|name| format!("branches.{name}.{key}"));
    assert_eq!(
        said_of_file(&path, &[key], &[]),
        expected("random, delt, which set", &format!("{random}, {delt}"))
    );
    assert_eq!(said_of_file(&path, &[key], &["delt"]), expected("delt, which sets", &delt));
}

#[test]
fn an_override_of_a_section_that_only_branches_have_names_them() {
    assert_eq!(
        said(&["seed=1", "synthesize.method.pool=2"], &[]),
        "`synthesize.method.pool`: found on the command line, but it means nothing outside of `branches`; set \
         branches.frepo.synthesize.method.pool=2, branches.rcig.synthesize.method.pool=2, \
         branches.frepo-relabel.synthesize.method.pool=2 and 1 more"
    );
    let pool = "synthesize.method.pool=2";
    assert!(said(&[pool], &["dm", "rcig"]).ends_with(&format!("; set branches.rcig.{pool}")));
    assert!(said(&[pool], &["dm"]).ends_with("nor in those that BRANCH (--branch) names; leave it out"));
    let kind = said(&["synthesize.method.kind=frepo"], &["frepo"]);
    assert!(kind.ends_with("where it holds already for frepo; leave it out"), "{kind}");
    assert!(said(&["synthesize.method.pol=2"], &[]).starts_with("`synthesize.method.kind`: is missing"));
}
