//! The program of the library beside it.

fn main() -> anyhow::Result<()> {
    delt_bench::main()
}
