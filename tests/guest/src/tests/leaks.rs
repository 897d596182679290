// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing is lost, however often.

use std::{fs, ops::Range, thread, time::Duration};

use shmbuf::{Access, Phase, Protection};

use super::{claim, combinations, data::fresh, without_kmemleak, without_page_owner, Claim, Scope};
use crate::{
    kmsg::Log,
    ktap::diagnose,
    machine::Machine,
    module::{is_loaded, Config},
    process::Child,
    procfs::free_pages,
    runner::Env,
    sys::page,
};

pub(super) const CLAIMS: &[Claim] = &[
    claim(Scope::Once, "10000_rounds_lose_no_page", many_rounds).seconds(900),
    claim(Scope::Kind, "1000_rounds_lose_no_page", some_rounds).seconds(300),
    claim(Scope::Own, "100_insmods_lose_no_page", insmods).seconds(900),
    claim(Scope::Own, "page_owner_finds_none_of_ours", page_owner)
        .seconds(300)
        .unless(without_page_owner),
    claim(Scope::Own, "kmemleak_finds_none_of_ours", kmemleak)
        .seconds(600)
        .unless(without_kmemleak),
];

/// The rest of the system takes and gives a few pages while a test runs. A
/// page lost in every round is more.
const NOISE: i64 = 40;

/// Runs rounds in two halves, after some that are not counted, and asserts
/// that the halves leave no less memory than they found.
fn assert_no_loss(rounds: usize, mut round: impl FnMut(usize)) {
    let mut run = |range: Range<usize>| {
        for i in range {
            round(i);
            // Who watches can tell slow from hung.
            if i % (rounds / 10) == 0 {
                diagnose(format_args!("round {i} of {rounds}"));
            }
        }
        free_pages()
    };
    let warm = rounds / 10;
    let begin = run(0..warm);
    let middle = run(warm..warm + rounds / 2);
    let end = run(warm + rounds / 2..warm + rounds);
    diagnose(format_args!("free pages: {begin}, {middle}, {end}"));
    // What is lost shows in both halves; what somebody else has taken for
    // good, in one.
    let lost = (begin - middle).min(middle - end);
    assert!(lost < NOISE, "{lost} pages lost in {} rounds", rounds / 2);
}

fn many_rounds(env: &Env) {
    rounds(env, 10_000);
}

fn some_rounds(env: &Env) {
    rounds(env, 1000);
}

fn rounds(env: &Env, rounds: usize) {
    assert_no_loss(rounds, |i| {
        let buffer = env.open();
        let offset = i * page() % env.size();
        let mapping = buffer
            .map(offset as u64, env.size() - offset, Protection::ReadWrite)
            .expect("mmap");
        mapping.write_u32(0, i as u32);
        mapping.write_u32(mapping.len() - 4, i as u32);
        let mut word = [0; 4];
        buffer.read_at(&mut word, offset as u64).expect("pread");
    });
}

/// One life of the module, with all that a program can do to it.
fn life(env: &Env, config: &Config) {
    env.module.must_load(&config.parameters());
    {
        let buffer = env.open();
        let mapping = buffer
            .map(0, config.size as usize, Protection::ReadWrite)
            .expect("mmap");
        mapping.write(0, &fresh().bytes(0, 4 * page()));
        Child::run(|| mapping.fill(0, page(), 1)).join();
        drop(mapping);
        buffer.read_at(&mut [0; 100], 50).expect("pread");
        buffer.write_at(&[0; 100], 50).expect("pwrite");
        buffer
            .sync(.., Access::ReadWrite, Phase::Begin)
            .expect("SYNC");
        let info = buffer.info().expect("INFO");
        if config.kind == shmbuf::Kind::Pages {
            for policy in info.policies.iter() {
                buffer.set_cache(policy).expect("SET_CACHE");
            }
        }
    }
    env.module.must_unload();
}

/// One life of the module, with users in a process that takes its page tables, which the
/// driver's mmap filled, along when it ends.
fn life_elsewhere(env: &Env, config: &Config) {
    Child::run(|| life(env, config)).join();
}

/// What the module can be loaded as. Small, since emulated boards take their
/// time over every byte.
fn lives(machine: &Machine) -> Vec<Config> {
    let small = |config| Config {
        size: 64 << 10,
        ..config
    };
    combinations(machine).0.into_iter().map(small).collect()
}

fn insmods(env: &Env) {
    let lives = lives(&env.machine);
    assert_no_loss(100, |i| life(env, &lives[i % lives.len()]));
}

/// Where the module's code is now.
fn code() -> Range<u64> {
    let modules = fs::read_to_string("/proc/modules").expect("/proc/modules");
    let line = modules
        .lines()
        .find(|line| line.starts_with("shmbuf "))
        .expect("it is loaded");
    let words: Vec<_> = line.split(' ').collect();
    let size: u64 = words[1].parse().expect("a size");
    let start = words[5].trim_start_matches("0x");
    let start = u64::from_str_radix(start, 16).expect("an address");
    assert_ne!(start, 0, "the kernel hides addresses");
    start..start + size.max(1 << 16)
}

/// Whether a line of a stack trace is in the module, be it loaded or, when
/// the kernel has only an address left to print, gone.
fn is_ours(line: &str, code: &Range<u64>) -> bool {
    line.contains("[shmbuf]")
        || line.split_whitespace().any(|word| {
            let digits = word.trim_start_matches("0x");
            u64::from_str_radix(digits, 16).is_ok_and(|address| code.contains(&address))
        })
}

/// Whether a stack of page_owner's is that of a page which the module asked
/// for. What the kernel keeps for all (slabs, kernel page tables, stacks that
/// its own debugging remembers) stays with whoever came first.
fn is_page_of_ours(stack: &str, code: &Range<u64>) -> bool {
    const SHARED: &[&str] = &[
        " new_slab+",
        " allocate_slab+",
        " __pte_alloc_kernel+",
        " stack_depot_save_flags+",
    ];
    let frames = || stack.lines();
    frames().any(|frame| is_ours(frame, code))
        && !frames().any(|frame| SHARED.iter().any(|shared| frame.starts_with(shared)))
}

/// The stacks that page_owner knows of pages of ours, wherever the module was.
fn pages_of_ours(codes: &[Range<u64>]) -> Vec<String> {
    let path = "/sys/kernel/debug/page_owner_stacks/show_stacks";
    let stacks = fs::read_to_string(path).expect(path);
    stacks
        .split("\n\n")
        .filter(|stack| codes.iter().any(|code| is_page_of_ours(stack, code)))
        .map(str::to_string)
        .collect()
}

/// Lives all lives elsewhere, once each; where the module's code was then or
/// right after.
fn live_all(env: &Env) -> Vec<Range<u64>> {
    let live = |config: Config| {
        life_elsewhere(env, &config);
        env.module.must_load(&config.parameters());
        let code = code();
        env.module.must_unload();
        code
    };
    lives(&env.machine).into_iter().map(live).collect()
}

fn page_owner(env: &Env) {
    // The search finds what is there. It takes seconds on an emulated board,
    // so there is one for all lives. (Of coherent memory, CMA has the pages.)
    env.module.must_load(&Config::DEFAULT.parameters());
    let held = pages_of_ours(&[code()]);
    assert!(!held.is_empty(), "page_owner does not know the buffer");
    env.module.must_unload();

    let held = pages_of_ours(&live_all(env));
    assert!(held.is_empty(), "pages are left:\n{}", held.join("\n\n"));
}

fn kmemleak(env: &Env) {
    let path = "/sys/kernel/debug/kmemleak";
    let mut log = Log::from_now();
    let codes = live_all(env);
    assert!(!is_loaded());
    // It does not report what is younger than five seconds, nor what it has
    // seen only once.
    thread::sleep(Duration::from_secs(6));
    for _ in 0..2 {
        diagnose("kmemleak scans");
        fs::write(path, "scan").expect("kmemleak scan");
    }
    log.lines();
    let leaks = fs::read_to_string(path).expect(path);
    let entries: Vec<_> = leaks
        .split("unreferenced object ")
        .filter(|entry| {
            // Whatever this program made the kernel allocate.
            entry.contains("comm \"shmbuf")
                || codes
                    .iter()
                    .any(|code| entry.lines().any(|line| is_ours(line, code)))
        })
        .collect();
    assert!(entries.is_empty(), "{}", entries.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_frames_are_recognised_also_when_gone() {
        let code = 0xbf00_0000..0xbf01_0000;
        assert!(is_ours(" shmbuf_alloc+0x10/0x20 [shmbuf]", &code));
        assert!(is_ours(" 0xbf000123", &code));
        assert!(is_ours("    [<bf000123>] 0xbf000123", &code));
        assert!(!is_ours(" __alloc_pages+0x10/0x20", &code));
        assert!(!is_ours(" 0xbf010000", &code));
    }

    #[test]
    fn pages_of_ours_are_not_what_is_kept_for_all() {
        let code = 0xbf00_0000..0xbf01_0000;
        let ours = " prep_new_page+0x1/0x2\n b+0x1/0x2 [shmbuf]\nnr_base_pages: 256\n";
        assert!(is_page_of_ours(ours, &code));
        let slab = " new_slab+0x1/0x2\n 0xbf000123\nnr_base_pages: 1\n";
        assert!(!is_page_of_ours(slab, &code));
        let others = " a+0x1/0x2\nnr_base_pages: 1\n";
        assert!(!is_page_of_ours(others, &code));
    }
}
