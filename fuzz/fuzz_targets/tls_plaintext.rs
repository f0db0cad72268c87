#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rserpool::fuzz::tls_plaintext(bytes));
