"""The paper's claim on drawn faces, and the bars of the plant."""

import pytest
from vpsa_fair.cli import main
from vpsa_fair.demo import demo_audit


def test_a_planted_camera_is_found_though_clean_images_do_not_show_it():
    audit = demo_audit(identities=40)
    audit.perturbations = audit.perturbations[:1]
    res = audit.run()
    assert abs(res.pairwise("clean").value[0, 1]) <= 0.03
    first = res.targeted()[0]
    assert (first.group, first.perturbation) == ("b", "gaussian_noise")
    assert first.disparity > 0.25
    assert first.p_adjusted < 0.01


@pytest.mark.slow
def test_the_demonstration_meets_the_bars_and_the_gate_tells_plant_from_control(tmp_path, capsys):
    """Clean gap at most .02, AUC gap at least .3, adjusted p below .01, ranked first."""
    res = demo_audit(tmp_path / "plant").run()
    first = res.targeted()[0]
    assert abs(res.pairwise("clean").value[0, 1]) <= 0.02
    assert (first.group, first.perturbation) == ("b", "gaussian_noise")
    assert first.disparity >= 0.3
    assert first.p_adjusted < 0.01
    assert main(["demo", "--out", str(tmp_path / "plant")]) == 0
    assert "0 in the sweep" in capsys.readouterr().out
    assert main(["demo", "--out", str(tmp_path / "control"), "--control"]) == 0
    codes = [main(["check", str(tmp_path / d), "--max-gap", "0.05"]) for d in ("plant", "control")]
    assert codes == [1, 0]
