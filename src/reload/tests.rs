//! The way from an action to its adapter.

use super::*;

fn event() -> Event {
    Event {
        certificate: "grpc".to_owned(),
        kind: EventKind::Leaf,
        generation: "g1".to_owned(),
        serial: "01".to_owned(),
        dir: "/x".into(),
    }
}

#[tokio::test]
async fn outside_of_nomad_its_actions_fail_and_say_why_and_the_others_work() {
    let environment = Environment::new();
    let nomad = nomad::NomadConfig::of(&environment, Duration::ZERO).and_then(Nomad::new);
    let reloader = ActionRunner::new(nomad, &environment);
    let task = "app".to_owned();
    let restart = Action::NomadRestart { task };
    let failure = reloader.perform(&restart, &event()).await.unwrap_err();
    assert_eq!((failure.code, failure.lasting), ("nomad-missing", true));
    let exec = Action::Exec {
        argv: vec!["/bin/true".to_owned()],
        timeout: Duration::from_secs(20),
        env: std::collections::BTreeMap::new(),
    };
    for action in [Action::None, exec] {
        assert_eq!(
            reloader.perform(&action, &event()).await,
            Ok(Delivery::Delivered)
        );
    }
}
