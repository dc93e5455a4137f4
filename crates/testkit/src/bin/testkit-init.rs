//! Becomes pid 1 of the sandboxes that the tests start, and the workers beside them. Their own `main` belongs to the test harness.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    {
        seaworthy_sandbox::init_main();
        if let Some(code) = seaworthy_engine::workers::started_as_worker() {
            return code.into();
        }
    }
    ExitCode::SUCCESS
}
