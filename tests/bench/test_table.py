import pytest

from lamina.bench import markdown, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5e-7, "0.25 us"),
        (1.34e-6, "1.34 us"),
        (16.32e-6, "16.3 us"),
        (999.4e-6, "999 us"),
        (0.9996e-3, "1.00 ms"),
        (0.1234, "123 ms"),
        (2.0, "2.00 s"),
        (12.34, "12.3 s"),
    ],
)
def test_durations_have_three_figures(seconds, text):
    assert table.duration(seconds) == text


def test_cells(row):
    expected = ["10.0 ms", "91%", "torch", "12.0 ms", "1.20 (1.10-1.25)", "1.00, 88%", "reached"]
    assert table.cells(row()) == expected
    assert table.cells(row(margin=0.99))[-1] == "missed"
    assert table.cells(row(margin=None))[-1] == "-"
    assert table.cells(row(disturbance=0.06))[-1] == "reached*"
    assert table.share(row(share_of_peak=0.0, share_of_bandwidth=0.7)) == "70% bw"
    alone = row(peer=None, ratio=None, bar=None, least_share=None)
    assert table.cells(alone)[2:6] == ["-", "-", "-", "-"]


def test_summary_and_notes(record):
    assert table.summary(record()) == (
        "lamina is faster than the best peer in 2 of 3 rows; 3 of 4 reach what is asked for."
    )
    left_out, disturbed = table.notes(record())
    assert left_out == "onnxruntime 1 left out: why (MLP prediction batch 1)"
    assert disturbed.startswith("* other processes")
    assert "1 of 4 rows, up to 31%" in disturbed


def test_rows_against_lamina_itself_do_not_count_as_faster(record, row):
    own = row(peer="lamina, one thread", ratio=[2, 2, 2])
    assert "faster than the best peer in 0 of 0 rows; 1 of 1" in table.summary(record(own))


def test_memory(record):
    assert table.memory_rows(record()) == [
        ("MLP step 784-128-10", ["300 (250)", "700 (200)", "torch", "12"])
    ]


def test_markdown(record):
    lines = markdown(record()).splitlines()
    assert lines[0].startswith("2026-11-23, A & B Processor, avx512, 2 threads; lamina 0.1.0")
    assert (
        "| ops.relu from Python 32 values | 1.30 us | - | - | - | - | 1.50 us | reached |" in lines
    )
    widths = {line.count("|") for line in lines if line.startswith("| ")}
    assert widths == {len(table.HEADINGS) + 1, len(table.MEMORY_HEADINGS) + 1}
