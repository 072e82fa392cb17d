// Where libmio lies: what pkg-config says, or the folder in MIO_LIBRARY_DIR.
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=MIO_LIBRARY_DIR");
    if let Ok(folder) = std::env::var("MIO_LIBRARY_DIR") {
        println!("cargo:rustc-link-search=native={}", folder);
    } else if let Ok(said) = Command::new("pkg-config").args(["--libs-only-L", "mio"]).output() {
        for word in String::from_utf8_lossy(&said.stdout).split_whitespace() {
            println!("cargo:rustc-link-search=native={}", word.trim_start_matches("-L"));
        }
    }
}
