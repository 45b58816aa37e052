"""Every check of the workspace: `uv run nox` runs the default ones, `uv run nox -l` lists all."""

import hashlib
import json
import os
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "docs", "alone", "integration"]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # byte code halves the time of importing torch

ROOT = Path(__file__).parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
EACH = nox.parametrize("package", [nox.param(name, id=name) for name in PACKAGES])
FAST = "not slow and not network"


def requirements(package: str, group: str) -> list[str]:
    """The requirements of one dependency group of one package."""
    project = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")
    return list(nox.project.dependency_groups(project, group))


def package_and_rest(session: nox.Session) -> tuple[str, list[str]]:
    """The package named after `--`, and what stands behind it."""
    if not session.posargs or session.posargs[0] not in PACKAGES:
        session.error(f"name a package after `--`: one of {', '.join(PACKAGES)}")
    return session.posargs[0], session.posargs[1:]


def group_run(session: nox.Session, group: str, *command: str) -> None:
    """Run a command in the workspace's environment with one more dependency group."""
    session.run("uv", "run", "--quiet", "--group", group, *command, external=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Style, the rule that no package imports another, undeclared and unused dependencies."""
    group_run(session, "lint", "ruff", "check")
    group_run(session, "lint", "ruff", "format", "--check")
    group_run(session, "lint", "lint-imports")
    for package in PACKAGES:
        with session.chdir(ROOT / "packages" / package):
            group_run(session, "lint", "deptry", "src")
    group_run(session, "lint", "python", "tools/constraints.py", "--check")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Pyrefly on the sources; basedpyright on files that use the public API as a user would."""
    everything = ["uv", "run", "--quiet", "--all-packages", "--group", "test", "--group", "types"]
    session.run(*everything, "pyrefly", "check", external=True)
    uses = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("packages/*/tests/typing_*.py"))
    session.run(*everything, "basedpyright", *uses, external=True)


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """The documentation, offline; every warning is an error."""
    group_run(session, "docs", "sphinx-build", "-qW", "--keep-going", "docs", "docs/_build/html")
    session.log("open docs/_build/html/index.html")


@nox.session
@EACH
def alone(session: nox.Session, package: str) -> None:
    """One package in an empty environment that holds only what it declares; README included."""
    session.install(f"./packages/{package}", *requirements(package, "test"), "-cconstraints.txt")
    session.run("pytest", f"packages/{package}", "-m", FAST, *session.posargs)


@nox.session(default=False)
@EACH
def lowest(session: nox.Session, package: str) -> None:
    """As `alone`, at the declared floors, with a current torch (its floor runs in `release`)."""
    torch = [line for line in constraints() if line.startswith("torch==")]
    overrides = Path(session.create_tmp()) / "overrides.txt"
    overrides.write_text("\n".join(torch))
    at_floors(session, package, f"--overrides={overrides}", besides={"torch"})
    session.run("pytest", f"packages/{package}", "-m", FAST, *session.posargs)


def constraints() -> list[str]:
    """The lines of constraints.txt."""
    return (ROOT / "constraints.txt").read_text().splitlines()


def at_floors(session: nox.Session, package: str, *options: str, besides: set[str]) -> None:
    """Install a package at its declared floors and fail where one was not taken."""
    wanted = requirements(package, "test")
    lowest = "--resolution=lowest-direct"
    session.install(f"./packages/{package}", *wanted, lowest, *options)
    listing = ["uv", "pip", "list", "--format=json"]
    printed = session.run(*listing, silent=True, external=True)  # warnings may stand around it
    listed = json.loads(next(row for row in printed.splitlines() if row.startswith("[")))
    installed = {row["name"].lower(): Version(row["version"]) for row in listed}
    project = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")["project"]
    for line in [*project["dependencies"], *wanted]:
        requirement = Requirement(line)
        floors = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "==")]
        applies = requirement.marker is None or requirement.marker.evaluate()
        if requirement.name.lower() in besides or not floors or not applies:
            continue
        got = installed[requirement.name.lower().replace("_", "-")]
        if got != max(floors):
            session.error(f"{package} declares {line}, but {got} was installed: raise the floor")


@nox.session(venv_backend="none")
def integration(session: nox.Session) -> None:
    """What no package can test alone: the tour, and how the ten fit together."""
    command = ["pytest", "integration", "-m", FAST, *session.posargs]
    session.run("uv", "run", "--quiet", *command, external=True)


@nox.session(default=False, venv_backend="none")
def thorough(session: nox.Session) -> None:
    """Slow tests too, and 1,000 examples for every property."""
    everything = ["uv", "run", "--quiet", "--all-packages", "--group", "test"]
    session.run(
        *everything, "pytest", "-m", "not network", *session.posargs, external=True,
        env={"HYPOTHESIS_PROFILE": "thorough"},
    )  # fmt: skip


@nox.session(default=False, venv_backend="none")
def js(session: nox.Session) -> None:
    """The browser side of symphony-ui: types, tests, and a rebuild that must give what is there."""
    package = ROOT / "packages" / "symphony-ui"
    if '"resolved"' in (package / "js" / "package-lock.json").read_text():
        session.error("js/package-lock.json holds addresses: make it with js/.npmrc in force")
    built = sorted((package / "src" / "symphony_ui" / "static").iterdir())
    before = [path.read_bytes() for path in built]
    with session.chdir(package / "js"):
        session.run("npm", "ci", "--no-progress", external=True)
        for step in ("check", "test", "build"):
            session.run("npm", "run", "--silent", step, external=True)
    for path, content in zip(built, before, strict=True):
        if path.read_bytes() != content:
            session.error(f"{path.name} is not what js/ builds: commit the new one")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """`-- PACKAGE [RACE] [options]`: its races against its peers, in an environment of their own.

    `--into FOLDER` in place of `--json FILE`: FOLDER/RACE.json of each, and none stops the others.
    """
    package, rest = package_and_rest(session)
    races = {
        path.stem: path for path in sorted(ROOT.glob(f"packages/{package}/benchmarks/[!_]*.py"))
    }
    if rest and rest[0] in races:
        races = {rest[0]: races[rest.pop(0)]}
    into = Path(rest[rest.index("--into") + 1]) if "--into" in rest else None
    if into:
        at = rest.index("--into")
        del rest[at : at + 2]
        into.mkdir(parents=True, exist_ok=True)
        for name in races:
            (into / f"{name}.json").unlink(missing_ok=True)
    elif "--json" in rest and len(races) > 1:
        session.error(f"--json is for one race: name one of {', '.join(races)}")
    session.install(f"./packages/{package}", *requirements(package, "bench"), "-cconstraints.txt")
    for name, race in races.items():
        file = ["--json", str(into / f"{name}.json")] if into else []
        codes = range(-64, 256) if into else [0]
        session.run("python", str(race.relative_to(ROOT)), *rest, *file, success_codes=codes)


@nox.session(default=False, venv_backend="none")
def races(session: nox.Session) -> None:
    """Every race, or those of the packages after `--` and with their options; judges all bars.

    All of them write docs/races.md; some of them, or quick ones, build/races/races.md.
    """
    named = [word for word in session.posargs if word in PACKAGES]
    options = [word for word in session.posargs if word not in PACKAGES]
    folder = ROOT / "build" / "races"
    for package in named or PACKAGES:
        run = ["uv", "run", "--quiet", "nox", "-s", "bench", "--", package]
        into = ["--into", str(folder / package)]
        session.run(*run, *into, *options, external=True, success_codes=range(256))
    target = [] if session.posargs else ["--markdown", str(ROOT / "docs" / "races.md")]
    chosen = ["--packages", *named] if named else []
    command = ["python", "-m", "tenfold.races", str(folder), *target, *chosen]
    session.run("uv", "run", "--quiet", *command, external=True)


@nox.session(default=False, venv_backend="none")
def picture(session: nox.Session) -> None:
    """The README's picture: what the tour's page opens with; the tour is run if need be."""
    session.run("uv", "run", "--quiet", "tour", external=True)
    command = ["python", "tools/picture.py", "tour/index.html", "docs/tour.png"]
    session.run("uv", "run", "--quiet", *command, external=True)


@nox.session(default=False, venv_backend="none")
def build(session: nox.Session) -> None:
    """Wheel and sdist of all packages (or those after `--`), checked, built twice alike."""
    for package in session.posargs or PACKAGES:
        build_twice(session, package)


def build_twice(session: nox.Session, package: str) -> list[Path]:
    """Build one package twice, compare the bytes, check the contents; the files in dist/."""
    folders = [ROOT / "dist", ROOT / "build" / "again"]
    for folder in folders:
        for stale in folder.glob(f"{package.replace('-', '_')}-*"):
            stale.unlink()
        session.run("uv", "build", "-q", "--package", package, "-o", str(folder), external=True)
    first, again = (
        {path.name: path for path in folder.glob(f"{package.replace('-', '_')}-*")}
        for folder in folders
    )
    for name, path in first.items():
        digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (path, again[name])]
        if digests[0] != digests[1]:
            session.error(f"{name}: two builds differ ({digests[0][:12]} and {digests[1][:12]})")
        session.log(f"{name}  {path.stat().st_size / 1e3:.1f} kB  sha256 {digests[0][:12]}")
    wheels = [str(path) for path in first.values() if path.suffix == ".whl"]
    compiled = (ROOT / "packages" / package / "hatch_build.py").exists()
    if any(wheel.endswith("-none-any.whl") == compiled for wheel in wheels):
        session.error(f"{wheels}: a compiled package is for one platform, a pure one for any")
    group_run(session, "build", "check-wheel-contents", *wheels)
    group_run(session, "build", "twine", "check", "--strict", *map(str, first.values()))
    return list(first.values())


@nox.session(default=False, venv_backend="none")
def fragments(session: nox.Session) -> None:
    """A package whose sources changed since its last release must say so in changelog.d/."""
    for package in PACKAGES:
        pattern = f"{package}-v*"
        tags = session.run(
            "git", "describe", "--tags", "--abbrev=0", "--match", pattern,
            external=True, silent=True, success_codes=[0, 128],
        )  # fmt: skip
        since = [f"{tags.strip()}..HEAD"] if tags and tags.startswith(package) else []
        path = f"packages/{package}/src"
        changed = session.run(
            "git", "log", "--oneline", *since, "--", path, external=True, silent=True
        )
        if changed and not any(ROOT.glob(f"packages/{package}/changelog.d/*.md")):
            session.error(f"{path} changed: add packages/{package}/changelog.d/+topic.changed.md")


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """`-- PACKAGE major|minor|patch`: changelog, version, checks, tag; publishes nothing."""
    package, rest = package_and_rest(session)
    if rest not in (["major"], ["minor"], ["patch"]):
        session.error("say which part to raise: major, minor or patch")
    if session.run("git", "status", "--porcelain", external=True, silent=True):
        session.error("the working tree has changes: commit them first")
    bump = ["uv", "version", "--package", package, "--bump", rest[0], "--short", "--frozen"]
    version = session.run(*bump, external=True, silent=True).strip().split()[-1]
    folder = f"packages/{package}"
    group_run(
        session, "release", "towncrier", "build", "--yes", "--version", version,
        "--config", f"{folder}/pyproject.toml", "--dir", folder,
    )  # fmt: skip
    at_floors(session, package, besides=set())
    session.run("pytest", folder, "-m", FAST)
    session.install(f"./{folder}", *requirements(package, "test"), "--upgrade", "-cconstraints.txt")
    session.run("pytest", folder, "-m", FAST)
    build_twice(session, package)
    session.run("git", "add", "--all", folder, external=True)
    session.run("git", "commit", "-qm", f"release: {package} {version}", external=True)
    session.run("git", "tag", f"{package}-v{version}", external=True)
    session.log(f"tagged {package}-v{version}; the files are in dist/, and publishing is yours")


@nox.session(name="new-package", default=False, venv_backend="none")
def new_package(session: nox.Session) -> None:
    """`-- NAME "what a user gets"`: the skeleton that all packages share."""
    group_run(session, "dev", "python", "tools/new_package.py", *session.posargs)


@nox.session(default=False, venv_backend="none")
def constrain(session: nox.Session) -> None:
    """Write constraints.txt anew from the present resolution."""
    group_run(session, "dev", "python", "tools/constraints.py")
