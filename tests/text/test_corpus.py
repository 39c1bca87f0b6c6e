import pytest

from lamina.text import decode_text, read_text, shakespeare, split_text


def test_shakespeare():
    text = shakespeare()
    assert len(text) == 1_115_394
    assert text.startswith("First Citizen:\nBefore we proceed any further")
    assert len(set(text)) == 65


def test_read_text(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffOne\r\ntwo\rthree é\n".encode())
    assert read_text(file) == "One\ntwo\nthree é\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no text"),
        (b" \n\t", "holds no text"),
        (b"ab\0cd", "is not text: a zero byte at offset 2"),
        (b"ab\xff", "is not UTF-8 text: bad byte at offset 2"),
    ],
)
def test_what_is_not_text_is_named(tmp_path, content, reason):
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.txt: {reason}"):
        read_text(file)


@pytest.mark.parametrize(
    ("encoding", "hint"),
    [
        ("utf-16", "it looks like UTF-16LE: iconv -f UTF-16LE"),
        ("utf-16-le", "it looks like UTF-16LE"),
        ("utf-16-be", "it looks like UTF-16BE"),
        ("latin-1", "it looks like Latin-1: iconv -f LATIN-1 -t UTF-8"),
        ("cp1252", "it looks like Windows-1252"),
    ],
)
def test_other_encodings_are_guessed(encoding, hint):
    words = "Caf\u00e9 cr\u00e8me" + ("\u2019s" if encoding == "cp1252" else "") + "\n"
    with pytest.raises(ValueError, match=hint):
        decode_text("a.txt", words.encode(encoding) * 20)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\xff\x00\x01", b"\x01\x02\xff" * 9])
def test_nothing_is_guessed_of_other_bytes(data):
    with pytest.raises(ValueError, match=r"at offset \d+$"):
        decode_text("a.png", data)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b\.txt: no such file"):
        read_text(tmp_path / "b.txt")
    with pytest.raises(ValueError, match="is a folder, expected a text file"):
        read_text(tmp_path)


def test_split_text():
    assert split_text("0123456789", 0.3) == ("0123456", "789")
    assert "".join(split_text(shakespeare())) == shakespeare()
    with pytest.raises(ValueError, match="validation: expected between 0 and 1, got 1"):
        split_text("abc", 1)
    with pytest.raises(ValueError, match="1 characters are too few"):
        split_text("a")
