//! Tables of published results, whose cells make knows as pipelines.

use std::path::Path;

use delt_pipeline::cells::Table;
use delt_tests::binaries::program;

use super::*;

#[test]
fn a_cell_of_a_table_is_a_pipeline_and_a_table_runs_all_of_its_cells() {
    let cell = |stage: &str| {
        let path = "pipelines/tables/table1/cifar10-ipc10-resnet18.yaml";
        format!("target/debug/{stage} --pipeline {path} --store 'data/store' --device 'auto'")
    };
    let Some(found) = commands(&["table1/cifar10-ipc10-resnet18/init-select"]) else { return };
    assert_eq!(found, STAGES[..3].iter().map(|stage| cell(stage)).collect::<Vec<_>>());
    let found = commands(&["table1/cifar10-ipc10-resnet18", "FORCE=1"]).unwrap();
    assert_eq!(found, STAGES.map(|stage| format!("{} --force", cell(stage))));
    let part = commands(&["table1/cifar10-ipc10-resnet18/relabel/shard-1", "SHARDS=2"]).unwrap();
    assert_eq!(part.last(), Some(&format!("{} --shards 2 --shard 1", cell("relabel"))));
    let table = commands(&["table1"]).unwrap();
    let of_cell: Vec<_> = table.iter().filter(|line| line.contains("cifar10-ipc10-resnet18.yaml")).collect();
    assert_eq!(of_cell, STAGES.map(cell).iter().collect::<Vec<_>>());
    assert_eq!(table.iter().filter(|line| line.contains("/evaluate ")).count(), 45);
    let listed = lines(make(&["list"]).unwrap());
    let heading = "table1: DELT's table 1, top-1 in percent, mean ± standard deviation";
    let one = "neighbors/tiny-ipc1-resnet18-wmdd 7.6 ± 0.2 WMDD";
    for line in [heading, "table1/cifar10-ipc10-resnet18 43.0 ± 0.9", one] {
        assert!(listed.contains(&line.to_owned()), "{listed:?}");
    }
}

#[test]
fn make_knows_the_cells_that_pipelines_are_read_of() {
    let Some(database) = make(&["-pn", "help"]) else { return };
    let database = lines(database);
    let of_make = database.iter().find_map(|line| line.strip_prefix("CELLS := ")).unwrap();
    let mut cells = Vec::new();
    for table in ["neighbors", "table1", "table2"] {
        let path = workspace().join(format!("pipelines/tables/{table}.yaml"));
        let read = Table::read(&path).unwrap().unwrap();
        cells.extend(read.names().map(|cell| format!("{table}/{cell}")));
    }
    assert_eq!(of_make.split(' ').collect::<Vec<_>>(), cells);
    let listed = lines(make(&["list"]).unwrap());
    let listed = listed.iter().filter_map(|line| line.split(' ').next().filter(|name| name.contains('/')));
    assert_eq!(listed.collect::<Vec<_>>(), cells);
}

#[test]
fn a_dry_run_of_a_table_is_a_line_for_each_cell() {
    let folder = tempfile::tempdir().unwrap();
    let compare = program("compare");
    let bin = Path::new(compare.get_program()).parent().unwrap().display();
    let (bin, store) = (format!("BIN={bin}"), format!("STORE={}", folder.path().display()));
    let there = format!("SET=ingest.source.path={}", folder.path().display());
    let Some(looking) = make(&["table2", "DRY_RUN=1", &bin, &store, &there]) else { return };
    let said = lines(looking);
    assert_eq!(said[1..3], ["cell time to run", "tiny-ipc1-conv4 - all stages"], "{said:?}");
    assert_eq!(said.len(), 16, "{said:?}");
}
