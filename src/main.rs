//! The process: allocator, runtime, exit code.

use std::process::ExitCode;

use lancegate::cli::Cli;

/// glibc's arenas let the memory of a LanceDB process grow without need.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// DataFusion and the filter parser recurse, and frames of an unoptimised build
/// are large; tokio's own default is 2 MiB.
const STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    let cli = match Cli::from_process() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    give_lance_every_core();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli.run());
    // Work on Lance's CPU threads cannot be cancelled: do not wait for it.
    runtime.shutdown_background();
    code
}

/// Lance leaves two cores for other things by default, which on a small machine
/// leaves one for searches.
fn give_lance_every_core() {
    const VARIABLE: &str = "LANCE_CPU_THREADS";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    if let Ok(cores) = std::thread::available_parallelism() {
        // SAFETY: the process has one thread here. The runtime, the first to
        // start others, is built after this.
        unsafe { std::env::set_var(VARIABLE, cores.to_string()) };
    }
}
