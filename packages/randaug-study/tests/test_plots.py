import numpy as np
import pytest
import torch
from matplotlib.image import imread
from randaug_study import plots
from randaug_study.cli import main, read_image
from randaug_study.report import Report
from randaug_study.space import RANDAUGMENT
from randaug_study.training import Run


def test_preference_is_1_where_an_operation_is_as_frequent_as_at_random():
    def run(operations):
        return Run("w", 0, 1.0, [], 1.0, [], operations, [], [], 1, 1, 1, 1.0)

    even = plots.preference([run({"a": [5, 5], "b": [5, 5]})])
    assert np.array_equal(even, np.ones((2, 2)))
    some = plots.preference([run({"a": [3, 0], "b": [1, 0]}), run({"a": [0, 0], "b": [0, 4]})])
    assert some[:, 0].tolist() == [1.5, 0.5]
    assert some[:, 1].tolist() == [0.0, 2.0]


def test_the_forest_has_a_row_a_comparison_and_a_band_of_the_margin(a_study, some_runs, means):
    report = Report.of(a_study(), some_runs(means))
    axes = plots.forest(report).axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [f"{c.arm}\n- {c.reference}" for c in report.comparisons]
    assert axes.patches[0].get_x() == -report.study.margin
    drawn = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    wide = report.comparisons[0].difference
    assert any(np.allclose(x, [wide.low, wide.high]) for x in drawn)


def test_all_figures_of_a_report_are_written(tmp_path, a_study, some_runs, means):
    report = Report.of(a_study(), some_runs(means))
    names = {path.name for path in report.write(tmp_path)}
    assert names == {
        "report.md", "summary.csv", "forest.png", "operations.png", "curves.png", "contact.png",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == names
    text = (tmp_path / "report.md").read_text()
    assert all(f"({name})" in text for name in names if name.endswith(".png"))


def test_the_contact_sheet_labels_every_operation_and_magnitude():
    figure = plots.contact_sheet(RANDAUGMENT, bins=(0, 15, 30))
    rows = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert rows == list(RANDAUGMENT)
    columns = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert columns == ["-30", "-15", "0", "15", "30"]
    shown = {}
    for at, axis in enumerate(figure.axes):
        shown.setdefault(RANDAUGMENT[at // 5], []).append(len(axis.images))
    assert shown["Rotate"] == [1, 1, 1, 1, 1]
    assert shown["Posterize"] == [0, 0, 1, 1, 1]
    assert shown["Equalize"] == [0, 0, 1, 0, 0]


def test_the_sheet_shows_the_image_that_came_with_the_sign_of_its_column():
    image = torch.zeros(1, 9, 9, dtype=torch.uint8)
    image[0, 4, 4] = 255
    figure = plots.contact_sheet(("TranslateX",), image, bins=(0, 30))
    left, still, right = (np.asarray(axis.images[0].get_array()) for axis in figure.axes)
    assert np.array_equal(still, image[0].numpy())
    assert left[4].argmax() < 4 < right[4].argmax()


def test_show_writes_a_labelled_sheet_of_an_image_file(tmp_path, capsys):
    plots_image = tmp_path / "in.png"
    figure = plots.contact_sheet(("Identity",), bins=(0,))
    plots_image.write_bytes(plots.png(figure))
    out = tmp_path / "sheet.png"
    assert main(["show", str(plots_image), "--ops", "all", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    height, width = imread(out).shape[:2]
    assert height > 900
    assert width > 900
    assert read_image(plots_image).shape[0] == 3


def test_an_image_that_is_none_is_refused(tmp_path, capsys):
    (tmp_path / "text.png").write_text("no image")
    assert main(["show", str(tmp_path / "text.png"), "--out", str(tmp_path / "o.png")]) == 2
    assert "is no image that can be read" in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()
    with pytest.raises(ValueError, match=r"uint8 \(C, H, W\).*float32"):
        plots.contact_sheet(("Identity",), torch.zeros(1, 4, 4))
