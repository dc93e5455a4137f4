//! Becomes pid 1 of the sandboxes that the tests start. Their own `main` belongs to the test harness.
fn main() {
    #[cfg(target_os = "linux")]
    seaworthy_sandbox::init_main();
}
