import nexus_control


def test_every_public_name_is_there_under_its_own_name() -> None:
    for name in nexus_control.__all__:
        value = getattr(nexus_control, name)
        assert getattr(value, "__name__", name) == name


def test_the_public_names_are_exactly_those_that_can_be_loaded() -> None:
    namespace: dict[str, object] = {}
    exec("from nexus_control import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(nexus_control.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    assert not hasattr(nexus_control, "no_such_name")


def test_dir_shows_the_public_names_and_no_others() -> None:
    assert dir(nexus_control) == sorted([*nexus_control.__all__, "__version__"])
