//! `lambda-rds init` and `lambda-rds completions`

use serde_json::json;

use crate::user::User;

#[test]
fn what_init_makes_runs_at_once() {
    let user = User::new();
    let made = user.run(&["init", "shop"]);
    assert_eq!((made.code, made.stdout.as_str()), (0, ""), "{}", made.stderr);
    assert!(made.stderr.contains("cd shop && lambda-rds invoke active_users"), "{}", made.stderr);
    for file in ["queries/users.sql", "lambda-rds.toml", ".gitignore"] {
        assert!(user.folder().join("shop").join(file).is_file(), "{file}");
    }
    let shop = user.within("shop");
    assert_eq!(shop.invoke(&["user", "id=1"]).json()["name"], json!("Ada"));
    let checked = shop.run(&["check"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
}

#[test]
fn nothing_is_overwritten() {
    let user = User::new();
    user.write("queries/users.sql", "mine");
    let refused = user.run(&["init"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (3, ""));
    assert!(refused.stderr.contains(". has queries/users.sql already"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(user.folder().join("queries/users.sql")).unwrap(), "mine");
    assert!(!user.folder().join("lambda-rds.toml").exists(), "all or nothing");
    // Other files are not in the way.
    let user = User::new();
    user.write("README.md", "mine");
    assert_eq!(user.run(&["init"]).code, 0);
}

#[test]
fn every_shell_gets_completions_that_know_the_subcommands() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = user.run(&["completions", shell]);
        assert_eq!((printed.code, printed.stderr.as_str()), (0, ""), "{shell}");
        for word in ["init", "invoke", "serve", "check", "openapi", "completions"] {
            assert!(printed.stdout.contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(user.run(&["completions", "csh"]).code, 2);
}

#[test]
fn help_tells_the_exit_codes_and_a_pipe_gets_no_colours() {
    let user = User::new();
    let help = user.run(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("Exit codes:"), "{}", help.stdout);
    assert!(!help.stdout.contains('\u{1b}'), "{}", help.stdout);
    for subcommand in ["init", "invoke", "serve", "check", "doctor", "openapi", "pack", "completions"] {
        assert_eq!(user.run(&[subcommand, "--help"]).code, 0, "{subcommand}");
    }
}
