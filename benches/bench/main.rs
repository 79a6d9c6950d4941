//! Benches, one a module: `cargo bench --bench bench -- NAME [PART]`. Without a name: all.

mod client;
mod index;
mod log;
mod measure;
mod notary;
mod process;
mod redis;
#[path = "../../tests/support/redis.rs"]
mod redis_server;
mod replay;
mod server;
mod work;

fn main() {
    // Cargo adds `--bench` of its own.
    let mut names = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let (name, part) = (names.next(), names.next());
    let part = part.as_deref();
    let mut ran = false;
    let mut bench = |known: &str, run: &dyn Fn()| {
        if name.as_deref().is_none_or(|name| name == known) {
            ran = true;
            run();
        }
    };
    bench("log", &log::run);
    bench("index", &index::run);
    bench("server", &|| server::run(part));
    bench("redis", &|| redis::run(part));
    bench("replay", &|| replay::run(part));
    bench("work", &|| work::run(part));
    bench("notary", &notary::run);
    if !ran {
        eprintln!(
            "no such bench; there are: log, index, server [posts|publish|fanout|echo|idle|restart], redis [append|read|publish|echo|crowd], replay [folder|redis|beside], work [waits|woken|answer], notary"
        );
        std::process::exit(2);
    }
}
