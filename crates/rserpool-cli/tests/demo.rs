//! The demonstration, as it is run by a person and by a program.

use std::process::Command;

#[test]
fn the_demonstration_loses_nothing_and_another_element_answers_soon() {
    let output = Command::new(env!("CARGO_BIN_EXE_rserpool"))
        .args(["demo", "--json", "--time", "2s"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["lost"], 0, "{summary}");
    assert_eq!(summary["sent"], summary["answered"], "{summary}");
    assert_eq!(summary["elements"].as_array().unwrap().len(), 9, "{summary}");
    assert!(summary["median_ms"].as_f64().is_some(), "{summary}");
}
