//! `docs/networks.md` lists every network, with figures that are those of its description.

use std::collections::BTreeSet;
use std::path::Path;

use delt_architectures::Architecture;

/// The classes at which values are counted.
const CLASSES: usize = 10;

#[test]
fn every_network_stands_in_the_documentation_with_its_figures() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/networks.md");
    let page = std::fs::read_to_string(page).expect("docs/networks.md");
    let mut listed = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `{name: ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let architecture: Architecture = serde_yaml::from_str(cells[1].trim_matches('`')).expect(row);
        let size = cells[2].parse().expect(row);
        assert_eq!(architecture.misfit(size), None, "{row}");
        let description = architecture.description(size, CLASSES);
        assert_eq!(cells[3].replace(',', ""), description.parameters().to_string(), "{row}");
        let millions = format!("{:.1}", description.multiplications() / 1e6);
        assert_eq!(cells[4].replace(',', ""), millions, "{row}");
        let roles = if architecture.has_batch_norm() { "teacher, student" } else { "student" };
        assert_eq!(cells[5], roles, "{row}");
        let lr = cells[6].parse::<f64>().ok();
        assert_eq!(lr, architecture.published_lr(), "{row}");
        listed.insert(architecture.name());
    }
    assert_eq!(listed, BTreeSet::from_iter(Architecture::NAMES.iter().copied()));
}
