"""Downloads that resume and are checked, archives that are not trusted; a local web server."""

import hashlib
import http.server
import tarfile
import threading

import pytest

from ivector.base.errors import DataError, UsageError
from recipes.corpora import download, librispeech, voxceleb


class TestArchives:
    @pytest.mark.parametrize(
        "name", ["../out.wav", "/tmp/out.wav", "a/../../out.wav", "C:/out.wav", "..\\out.wav"]
    )
    def test_members_stay_inside(self, tmp_path, name):
        with tarfile.open(tmp_path / "bad.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        with pytest.raises(DataError, match="points outside"):
            download.extract(tmp_path / "bad.tar", tmp_path / "in")
        assert not list(tmp_path.rglob("out.wav"))

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_devices_are_refused(self, tmp_path, kind):
        member = tarfile.TarInfo("a/link.wav")
        member.type, member.linkname = kind, "/etc/passwd"
        with tarfile.open(tmp_path / "bad.tar", "w") as archive:
            archive.addfile(member)
        with pytest.raises(DataError, match="a link or a device"):
            download.extract(tmp_path / "bad.tar", tmp_path / "in")

    def test_damaged(self, tmp_path):
        noise = hashlib.sha256(b"noise").digest() * 4000
        (tmp_path / "a.wav").write_bytes(bytes(a ^ b for a, b in zip(noise, noise[::-1])))
        with tarfile.open(tmp_path / "ok.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "a.wav", "a.wav")
        data = (tmp_path / "ok.tar.gz").read_bytes()
        for cut in (data[: len(data) // 2], b"nothing of the kind"):
            (tmp_path / "cut.tar.gz").write_bytes(cut)
            with pytest.raises(DataError, match="cannot be unpacked"):
                download.extract(tmp_path / "cut.tar.gz", tmp_path / "in")
        assert not list(tmp_path.glob("in/*"))


class Server:
    """A local web server that knows ranges, and can be told to break off or to fail."""

    def __init__(self, folder):
        self.folder = folder
        self.requests = []
        self.break_at = None
        self.fail = []
        self.ranges = True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.headers.get("Range"))
                if outer.fail:
                    return self.send_error(outer.fail.pop(0))
                path = outer.folder / self.path.lstrip("/")
                if not path.exists():
                    return self.send_error(404)
                data, start = path.read_bytes(), 0
                if outer.ranges and self.headers.get("Range"):
                    start = int(self.headers["Range"][6:-1])
                    if start >= len(data):
                        return self.send_error(416)
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                end, outer.break_at = outer.break_at, None
                self.wfile.write(data[start:end])

            def log_message(self, *_):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(tmp_path):
    """A local web server of the files in its folder."""
    (tmp_path / "www").mkdir()
    made = Server(tmp_path / "www")
    yield made
    made.httpd.shutdown()
    made.httpd.server_close()


class TestDownload:
    DATA = bytes(range(256)) * 5000
    MD5 = hashlib.md5(DATA).hexdigest()

    def get(self, server, path, md5=MD5):
        return download.download(f"{server.url}/file.bin", path, md5, wait_s=0.01)

    @pytest.fixture
    def path(self, server, tmp_path):
        (server.folder / "file.bin").write_bytes(self.DATA)
        return tmp_path / "here" / "file.bin"

    def test_once(self, server, path):
        assert self.get(server, path).read_bytes() == self.DATA
        assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
        self.get(server, path)
        assert len(server.requests) == 1

    def test_goes_on_where_it_broke_off(self, server, path):
        server.break_at = 700_000
        assert self.get(server, path).read_bytes() == self.DATA
        assert server.requests == [None, "bytes=700000-"]

    def test_goes_on_after_an_earlier_run(self, server, path):
        path.parent.mkdir()
        path.with_name("file.bin.part").write_bytes(self.DATA[:1000])
        assert self.get(server, path).read_bytes() == self.DATA
        assert server.requests == ["bytes=1000-"]

    def test_server_without_ranges(self, server, path):
        server.ranges = False
        server.break_at = 1000
        assert self.get(server, path).read_bytes() == self.DATA

    def test_whole_part(self, server, path):
        path.parent.mkdir()
        path.with_name("file.bin.part").write_bytes(self.DATA)
        assert self.get(server, path).read_bytes() == self.DATA

    def test_part_of_another_file(self, server, path):
        path.parent.mkdir()
        path.with_name("file.bin.part").write_bytes(b"something else")
        assert self.get(server, path).read_bytes() == self.DATA
        assert server.requests == ["bytes=14-", None]

    def test_passing_failures(self, server, path):
        server.fail = [503, 429]
        assert self.get(server, path).read_bytes() == self.DATA

    def test_wrong_checksum(self, server, path):
        with pytest.raises(DataError, match=r"another checksum.*by hand"):
            self.get(server, path, "0" * 32)
        assert not list(path.parent.iterdir())

    def test_no_such_file(self, server, path):
        with pytest.raises(DataError, match="404"):
            download.download(f"{server.url}/none", path, self.MD5, wait_s=0.01)
        assert len(server.requests) == 1

    def test_no_connection(self, path, monkeypatch):
        monkeypatch.setattr(download, "ATTEMPTS", 2)
        with pytest.raises(DataError, match="try again later"):
            download.download("http://127.0.0.1:9/file.bin", path, self.MD5, wait_s=0.01)


class TestCorporaThatFetch:
    def test_librispeech(self, tmp_path, monkeypatch, server):
        name = "test-clean"
        source = tmp_path / "LibriSpeech"
        (source / name / "61" / "7").mkdir(parents=True)
        (source / name / "61" / "7" / "61-7-0000.flac").write_bytes(b"fLaC")
        (source / "SPEAKERS.TXT").write_text("61 | M | test-clean | 8 | C\n")
        with tarfile.open(server.folder / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(source, "LibriSpeech")
        content = (server.folder / f"{name}.tar.gz").read_bytes()
        monkeypatch.setitem(librispeech.SETS, name, hashlib.md5(content).hexdigest())
        home = tmp_path / "home"
        librispeech.fetch_set(name, home, server.url)
        assert sorted(p.name for p in home.iterdir()) == ["LibriSpeech"]
        assert [p.name for p in home.rglob("*.flac")] == ["61-7-0000.flac"]
        assert librispeech.read_genders(home) == {"61": "m"}
        asked = len(server.requests)
        librispeech.fetch_set(name, home, server.url)
        assert len(server.requests) == asked

    def test_librispeech_refuses(self, tmp_path, monkeypatch, server):
        with pytest.raises(UsageError, match="no such set"):
            librispeech.fetch_set("test-easy", tmp_path, server.url)
        with pytest.raises(UsageError, match="needs --corpus-dir"):
            librispeech.prepare(None, tmp_path / "out", download="test-clean")
        with tarfile.open(server.folder / "test-clean.tar.gz", "w:gz") as archive:
            archive.add(__file__, "other.txt")
        content = (server.folder / "test-clean.tar.gz").read_bytes()
        monkeypatch.setitem(librispeech.SETS, "test-clean", hashlib.md5(content).hexdigest())
        with pytest.raises(DataError, match="holds no LibriSpeech/test-clean"):
            librispeech.fetch_set("test-clean", tmp_path, server.url)

    def test_voxceleb_lists(self, tmp_path, monkeypatch, server):
        content = b"1 id10270/x/00001.wav id10270/y/00001.wav\n"
        (server.folder / "veri_test2.txt").write_bytes(content)
        monkeypatch.setattr(voxceleb, "META", server.url)
        lists = {"O-cleaned": ("veri_test2.txt", hashlib.md5(content).hexdigest())}
        monkeypatch.setattr(voxceleb, "LISTS", lists)
        (found,) = voxceleb.find_lists("O-cleaned", tmp_path / "vox1", tmp_path / "out")
        assert found[0] == "O-cleaned"
        assert found[1] == [("id10270-x-00001", "id10270-y-00001", True)]
        assert (tmp_path / "out" / "meta" / "veri_test2.txt").read_bytes() == content
