//! The program's own pages in memory.

use std::fs;
use std::path::Path;

/// Lets go of the pages of code that starting has used, most of which nobody needs again: with them an idle process has half
/// as much again in memory. What still runs is there again at its next step, from the page cache. Where the system does not
/// tell what is mapped, all stays as it is.
pub fn let_go_of_code() {
    let (Ok(program), Ok(maps)) = (fs::read_link("/proc/self/exe"), fs::read_to_string("/proc/self/maps")) else {
        return;
    };
    for range in maps.lines().filter_map(|line| code(line, &program)) {
        let_go(range);
    }
}

/// The addresses of a line of `/proc/self/maps` that maps code of `program`: what is executable and was never writable.
fn code(line: &str, program: &Path) -> Option<std::ops::Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (range, access, file) = (fields.next()?, fields.next()?, fields.nth(3)?);
    let (from, to) = range.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    (access == "r-xp" && Path::new(file) == program).then_some(address(from)?..address(to)?)
}

#[allow(unsafe_code)]
fn let_go(code: std::ops::Range<usize>) {
    let at = std::ptr::with_exposed_provenance_mut(code.start);
    // SAFETY: the whole range is one private mapping of the program's file that is not writable, so no page of it differs
    // from the file, and the kernel reads each anew when it is touched: no memory that Rust knows of changes.
    let result = unsafe { rustix::mm::madvise(at, code.len(), rustix::mm::Advice::LinuxDontNeed) };
    if let Err(error) = result {
        tracing::debug!("pages of code stay in memory: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_let_go_of() {
        let program = Path::new("/usr/bin/leafd");
        let line = |access: &str, file: &str| format!("00401000-00a02000 {access} 00001000 08:02 1734          {file}");
        assert_eq!(code(&line("r-xp", "/usr/bin/leafd"), program), Some(0x401000..0xa02000));
        for (access, file) in
            [("r--p", "/usr/bin/leafd"), ("rw-p", "/usr/bin/leafd"), ("r-xp", "/lib/libc.so.6"), ("r-xp", "")]
        {
            assert_eq!(code(&line(access, file), program), None, "{access} {file}");
        }
    }
}
