import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.execution.argv_template import ArgvTemplate

ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(ANY_TEXT)
def test_a_value_is_exactly_one_argument_whatever_it_holds(value: str) -> None:
    template = ArgvTemplate.of(["rotate", "--service={service}", "{{}}", "--", "{service}"])
    assert template.problem_with({"service": value}) is None
    assert template.fill({"service": value}) == ["rotate", f"--service={value}", "{}", "--", value]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (7, "7"),
        (-7, "-7"),
        (True, "true"),
        (False, "false"),
        ("{b}", "{b}"),
        (0.5, "0.5"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (1e22, "1e+22"),
        (2**53 - 1, "9007199254740991"),
    ],
)
def test_text_numbers_true_and_false_are_values_in_their_canonical_spelling(value: object, text: str) -> None:
    assert ArgvTemplate.of(["p", "-n={n}"]).fill({"n": value}) == ["p", f"-n={text}"]


@pytest.mark.parametrize("value", [None, [], {}, "a\0b"])
def test_other_values_are_refused_by_name(value: object) -> None:
    problem = ArgvTemplate.of(["p", "-n={n}"]).problem_with({"n": value})
    assert problem is not None
    assert problem.startswith("args.n ")


@pytest.mark.parametrize("value", ["-rf", "--config=/etc/x", "-", -1, -0.5])
def test_a_value_that_would_be_an_option_is_refused_where_it_stands_alone(value: object) -> None:
    problem = ArgvTemplate.of(["p", "{file}"]).problem_with({"file": value})
    assert problem is not None
    assert problem.startswith("args.file ")
    assert ArgvTemplate.of(["p", "--", "{file}"]).problem_with({"file": value}) is None
    assert ArgvTemplate.of(["p", "--file={file}"]).problem_with({"file": value}) is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["{program}"],
        ["./{program}"],
        ["p", "{"],
        ["p", "}"],
        ["p", "{}"],
        ["p", "{0}"],
        ["p", "{a.b}"],
        ["p", "{a[0]}"],
        ["p", "{a!r}"],
        ["p", "{a:>9}"],
        ["p", "{a b}"],
        ["p", "a\0b"],
    ],
)
def test_a_template_that_is_unclear_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"must|has braces"):
        ArgvTemplate.of(words)


@pytest.mark.parametrize(
    ("word", "values", "name"),
    [
        ("{user}@{host}", {"user": "-oProxyCommand=id", "host": "h"}, "user"),
        ("{a}{b}", {"a": "", "b": "-x"}, "b"),
        ("{a}{b}", {"a": "-", "b": "x"}, "a"),
        ("{a}-{b}", {"a": "", "b": "x"}, "a"),
        ("{a}-rf", {"a": ""}, "a"),
        ("{n}:{b}", {"n": -1, "b": "x"}, "n"),
    ],
)
def test_a_word_that_begins_with_a_placeholder_becomes_no_option(
    word: str, values: dict[str, object], name: str
) -> None:
    problem = ArgvTemplate.of(["ssh", word]).problem_with(values)
    assert problem is not None
    assert problem.startswith(f"args.{name} must not ")
    assert ArgvTemplate.of(["ssh", "--", word]).problem_with(values) is None
    assert ArgvTemplate.of(["ssh", f"={word}"]).problem_with(values) is None
    assert ArgvTemplate.of(["ssh", word]).problem_with(values | {name: "x"}) is None


def test_a_separator_before_an_interpreter_is_not_the_interpreters() -> None:
    for words in (["sudo", "--", "python3", "{script}"], ["env", "--", "/bin/bash", "{script}"]):
        assert ArgvTemplate.of(words).problem_with({"script": "-cimport os"}) is not None
    assert ArgvTemplate.of(["sudo", "python3", "--", "{s}"]).problem_with({"s": "-x"}) is None


PARSED_AS_CODE = """
sh -c {x}
sh -c a{x}
/bin/bash -e -uc {x}
bash -c{x}
bash -{x} script
bash -c -x {x}
bash -c -o pipefail {x}
bash -oc pipefail {x}
bash -c -- {x}
bash --rcfile file -c {x}
bash -o pipefail -ec {x}
bash +x -c {x}
dash -c {x}
rbash -c {x}
ksh93 -c {x}
mksh -c {x}
zsh-5.9 -c {x}
ash -c {x}
csh -c {x}
tcsh -fc {x}
fish -c {x}
fish -c{x}
fish --command={x}
fish --command {x}
busybox sh -c {x}
busybox -c {x}
python -c {x}
python3 -c {x}
python3.11 -Ic {x}
/usr/bin/python3 -c{x}
python3 -W ignore -X utf8 -c {x}
python3 -{x}
su -c {x}
su app -c {x}
su - app --command={x}
su app -- -c {x}
perl -e {x}
perl -E {x}
perl -ne {x}
perl -pe {x}
perl -e{x}
perl -0777 -i.bak -lne {x}
perl -I lib -e {x}
perl -e 1 -e {x}
perl5.36.0 -e {x}
perl -M{x} script.pl
ruby -e {x}
ruby3.1 -ne {x}
ruby -r json -e {x}
node -e {x}
node --eval {x}
node --eval={x}
node -p {x}
node -pe {x}
node --print {x}
node -r ./hook.js -e {x}
node --require ./hook.js --eval={x}
nodejs -e {x}
php -r {x}
php -r{x}
php8.2 -d memory_limit=1G -r {x}
php --run {x}
env -S {x}
env -S{x}
env -iS {x}
env -vS{x}
env -u A --split-string={x}
env --split-string {x}
env --split={x}
env -S python3|-c {x}
ssh host {x}
ssh {host} ls {x}
ssh {user}@{host} -- rm {x}
ssh -p 22 -o BatchMode=yes host uptime {x}
ssh -i key host -p 22 ls|{x}
ssh -- host {x}
ssh -o ProxyCommand={x} host
ssh -oProxyCommand={x} host
ssh -o {x} host
env A=1 bash -c {x}
sudo -u app -- bash -c {x}
nohup nice -n 5 timeout 9 python3 -c {x}
xargs -0 sh -c {x}
docker exec web sh -c {x}
setsid ssh host {x}
sh -c - {x}
bash -c - {x}
sh -c -e - {x}
su root -- -c - {x}
su -c - root {x}
su -c ls - root -c {x}
su -s/usr/bin/perl root -- -e {x}
su --shell=/usr/bin/fish root -c {x}
runuser root -c {x}
runuser -u app -- bash -c {x}
bash -oo errexit pipefail -c {x}
bash -rcfile file -c {x}
bash --rcfile -- -c {x}
bash -l -rcfile {x}
bash -rcfile -- -c {x}
runuser bash -u app -- -c {x}
zsh -oerrexit -c {x}
zsh --emulate sh -c {x}
perl -F{x} -ane print
perl -d:{x} script.pl
perl -d={x} script.pl
perl5.36-x86_64-linux-gnu -e {x}
bash-static -c {x}
python3-dbg -c {x}
python3.11-dbg -c {x}
pypy3 -c {x}
pypy3.10 -c {x}
python3 -mtimeit {x}
python3 -m timeit {x}
python3 -m timeit -n 5 -s {x} pass
python3 -m pdb -c {x} script.py
node --import {x}
node --import={x} server.js
node --experimental-loader {x}
node --experimental_loader {x}
node --loader={x}
node --require {x}
node -r {x}
node --test --test-reporter={x}
node --title t -e {x}
node --no-warnings -e {x}
node -p -e {x}
env -S bash\\_-c {x}
env -S "bash"|-c {x}
env -S bash|'-c' {x}
env -S bash|-c|# {x}
env -S -S|bash|-c {x}
env -C /srv -u A sh -c {x}
env - sh -c {x}
ssh -o "ProxyCommand"={x} h
ssh -o "Proxy"Command|{x} h
flock -w 5 lock -c {x}
flock lock sh -c {x}
timeout -k 5 9 ssh host {x}
sudo -n -u app ssh host {x}
sudo --user app ssh host {x}
sudo A=1 node -p {x}
sshpass -p word ssh host {x}
stdbuf -o L ionice -c 2 setsid -w perl -e {x}
time -f %e xargs -n 1 -I %% python3 -c {x}
chroot /srv sh -c {x}
strace -f -o log sh -c {x}
nsenter -t 1 -m bash -c {x}
toybox sh -c {x}
foo sh -c {x}
foo bash -o pipefail -c {x}
foo --name=web bash -c {x}
bash deploy.sh sh -c {x}
docker exec -it web node -p {x}
docker run --rm node -e {x}
docker exec web env -i bash -c {x}
kubectl exec web -c node -- bash --norc -c {x}
kubectl exec web -- ssh host {x}
find . -exec sh -c {x} ;
{dir}/bash -c {x}
python{version} -c {x}
"""


def _vector(line: str) -> list[str]:
    words = [word.replace("|", " ") for word in line.split()]
    return ["run", *words] if words[0].startswith(("{", "python{")) else words


@pytest.mark.parametrize("line", PARSED_AS_CODE.strip().split("\n"))
def test_a_placeholder_in_what_a_program_parses_as_code_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="must not have a placeholder in what"):
        ArgvTemplate.of(_vector(line))


NOT_CODE = """
sh -c rotate|"$1" sh {x}
sh rotate.sh {x}
sh rotate.sh -c {x}
sh -e rotate.sh --service={x}
bash -eo pipefail rotate.sh -c {x}
python3 rotate.py -c {x}
python3 -u rotate.py -c{x}
python3 -m rotate -c {x}
python3 -c print(1) -c {x}
python3 -W{x} rotate.py
perl rotate.pl -e {x}
perl -I {x} rotate.pl
perl -i{x} rotate.pl
ruby rotate.rb -e {x}
node server.js -p {x}
node -r ./hook.js server.js -e {x}
php artisan -r {x}
php -d {x} artisan
php -r echo(1); -- -r {x}
su {x}
su {x} -c ls
env A={x} ls -S {x}
env -u {x} ls
ssh {x}
ssh {user}@{host} uptime
bash {script} -c {x}
ssh -p {x} -l {user} {host} -o User={user} uptime
grep -c {x}
gzip -c {x}
tar -c {x}
mysql -e {x}
pythonic -c {x}
rsync -az -e ssh ./build/ {host}:/srv/
nohup rsync -az -e ssh ./build/ {host}:/srv/
useradd -s /bin/bash -c {gecos} {login}
usermod -s /bin/sh -c {g} bob
sudo useradd --shell /bin/bash -c {gecos} {login}
gcloud compute ssh {vm} --zone {zone}
flyctl ssh console -a {app}
az ssh vm --ip {ip}
ufw allow ssh from {ip}
sudo ufw allow ssh from {ip}
node --enable-source-maps server.js -p {port}
node --no-warnings cli.js -e {env}
node --watch server.js -e {env}
node --title {x} server.js
bash --login deploy.sh -c {cfg}
bash --noprofile deploy.sh -c {cfg}
bash --rcfile file deploy.sh -c {cfg}
bash -oo errexit pipefail deploy.sh -c {cfg}
sh - deploy.sh -c {cfg}
docker run --name node -e TOKEN={x} img
kubectl logs node -p {x}
sh -c rotate|"$1" sh -c {x}
su app -c rotate|"$1" sh {x}
su -s /usr/bin/perl app -- rotate.pl -e {x}
runuser -u app -- rotate -c {x}
perl -d script.pl -e {x}
perl -d:Trace script.pl {x}
python3 -m pdb script.py -c {x}
python3 -m timeit -n {n} pass
env -S python3|-u rotate.py -c {x}
nice -{n} ls
timeout {t} ls
ssh-keygen -o {x}
node-exporter -e {x}
php-fpm -r {x}
"""


@pytest.mark.parametrize("line", NOT_CODE.strip().split("\n"))
def test_a_placeholder_that_is_a_value_is_taken(line: str) -> None:
    ArgvTemplate.of(_vector(line))


def test_a_shell_script_may_take_a_value_as_its_own_argument() -> None:
    template = ArgvTemplate.of(["sh", "-c", 'rotate "$1"', "sh", "{service}"])
    assert template.fill({"service": "a; b"}) == ["sh", "-c", 'rotate "$1"', "sh", "a; b"]
