//! Answers as tables, rule by rule, and whatever heads there may be.

use std::sync::{Arc, LazyLock};

use difusor_proto::Digest;

use super::*;
use crate::{
    head::Field,
    health::Health,
    site::fixture::{
        Cut, Fixture, Package,
        answer::{Answer, decode},
        noise,
    },
    tick::Cadence,
};

mod addresses;
mod arbitrary;
mod choice;
mod codings;
mod conditions;
mod fields;
mod methods;
mod past;
mod ranges;

/// `Last-Modified` of the cut, and the seconds around it.
const SAME: &str = "Mon, 07 Jun 2021 01:40:00 GMT";
const EARLIER: &str = "Mon, 07 Jun 2021 01:39:59 GMT";
const LATER: &str = "Mon, 07 Jun 2021 01:40:01 GMT";

/// Two hours after the cut.
const NOW: u64 = 1_623_037_200_000;

/// A node that is well.
static WELL: LazyLock<Document> = LazyLock::new(|| Document::of(&Health::default()));

/// A cut, on disk.
struct World {
    fixture: Fixture,
    cut: Cut,
}

/// What answers follow from, beside the request.
struct Setting {
    site: Option<Arc<Site>>,
    policy: Policy,
    tick: Tick,
    pages: Pages,
    seed: u64,
}

/// A cut with a page in memory, a large file in its pack, files that are coded or not for each reason, and folders.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let fixture = Fixture::new();
    let (page, large) = (noise(1, 100), noise(2, 9_000));
    let files: [(&str, &[u8]); 13] = [
        ("index.html", &page),
        ("sub/index.html", b"<p>sub"),
        ("data/large.csv", &large),
        ("stored.json", &noise(4, 80)),
        ("acta.pdf", &noise(5, 60)),
        ("plain.zip", &noise(3, 100)),
        ("empty.txt", b""),
        ("a b/\u{f1}.json", b"{}"),
        ("100%.txt", b"percent"),
        ("app/index.html", b"<p>app"),
        ("main.0a1b2c3d4e5f6a7b.js", b"run()"),
        ("main.js", b"start()"),
        ("foto_20210606.png", b"png"),
    ];
    // Deflated badly, so that every other coding is worth having; but for two files, not at all.
    let deflates = |name: &str| !matches!(name, "plain.zip" | "stored.json");
    let cut = fixture.write(7, &files, &Package { level: 1, deflates: &deflates, ..Package::default() });
    World { fixture, cut }
});

/// That cut under the policy that every node has.
static USUAL: LazyLock<Setting> = LazyLock::new(|| Setting::under(Policy::default()));

impl World {
    fn bytes(&self, name: &str) -> Vec<u8> {
        self.fixture.store.plain(&self.digest(name)).unwrap()
    }

    fn digest(&self, name: &str) -> Digest {
        self.cut.manifest.entry(name).unwrap().digest
    }
}

impl Setting {
    /// The cut of [`WORLD`] under this policy.
    fn under(policy: Policy) -> Self {
        policy.check().unwrap();
        let options = crate::site::SiteOptions { policy: Arc::new(policy.clone()), ..WORLD.fixture.options() };
        Self::of(WORLD.fixture.build(&WORLD.cut, &options, None).unwrap(), policy)
    }

    fn of(site: Site, policy: Policy) -> Self {
        Self { site: Some(Arc::new(site)), ..Self::before_the_first_cut(policy) }
    }

    fn before_the_first_cut(policy: Policy) -> Self {
        let tick = Tick::new(NOW, &Cadence::default(), &policy.fresh);
        let pages = Pages::new(&policy);
        Self { site: None, policy, tick, pages, seed: 2 }
    }

    /// The answer to a head, with what holds of every answer.
    fn answer(&self, head: &Head<'_>) -> Answer {
        let Self { site, policy, tick, pages, seed } = self;
        let scene = Scene {
            site: site.as_deref(),
            policy,
            tick,
            pages,
            superseded: false,
            gives_up: None,
            health: &WELL,
            seed: *seed,
        };
        let mut answer = Answer::default();
        let (body, outcome) = respond(&scene, head, &mut answer);
        let answer = answer.with(body);
        assert_eq!(outcome.status, answer.status);
        answer.check(head.method == Method::Head);
        answer
    }

    /// The same; in the values, `{br}` and the like stand for the tags of the file at `path`.
    fn ask(&self, method: Method, path: &str, fields: &[(Field, &str)]) -> Answer {
        let values: Vec<_> = fields.iter().map(|(_, value)| self.filled(path, value)).collect();
        let mut head = Head { method, path: path.as_bytes(), ..Head::default() };
        fields.iter().zip(&values).for_each(|((field, _), value)| head.push(*field, value.as_bytes()));
        self.answer(&head)
    }

    fn get(&self, path: &str, fields: &[(Field, &str)]) -> Answer {
        self.ask(Method::Get, path, fields)
    }

    fn filled(&self, path: &str, value: &str) -> String {
        Coding::ALL.iter().filter(|_| value.contains('{')).fold(value.to_owned(), |value, coding| {
            let name = format!("{{{}}}", coding.name());
            if value.contains(&name) { value.replace(&name, &self.tag(path, *coding)) } else { value }
        })
    }

    fn entity(&self, path: &str) -> Arc<Entity> {
        match self.site.as_ref().unwrap().find(&address::decode(path.as_bytes()).unwrap()).unwrap().route {
            Route::File(entity) => Arc::clone(entity),
            Route::Folder(_) => panic!("{path} is a folder"),
            Route::Withheld(_) => panic!("{path} is withheld"),
        }
    }

    /// The tag of the form in this coding.
    fn tag(&self, path: &str, coding: Coding) -> String {
        self.entity(path).forms.get(coding).unwrap_or_else(|| panic!("{path} in {coding:?}")).tag.clone()
    }
}
