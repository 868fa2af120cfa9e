#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Kernels of one's own: a description and a library in kernels_dir, and what reload, enable and
# the limits do with them.

load common

@test "kernels: a C function and ten lines, after reload: right to the bit from bash, safetensors and raw" {
	rk_up_kernels
	mkdir "$KERNELS"
	assert_value stats/kernels_registered 9
	library axpby "$KERNELS/axpby.so"
	cp "$KERNELS_SRC/axpby.ini" "$KERNELS/"
	assert [ "$(grep -c '^[a-z].*=' "$KERNELS/axpby.ini")" -le 10 ]
	control reload
	assert_value last_cmd_status ok
	assert_value stats/kernels_registered 10
	assert_value kernels/user/axpby/inputs $'a = f32\nx = f32[n]\nb = f32\ny = f32[n]'
	assert_value kernels/user/axpby/outputs 'z = f32[n]'
	run call user/axpby '{"a":2,"x":[1,2,3],"b":0.5,"y":[10,20,30]}'
	assert_success
	assert_output '{"z":[7.0,14.0,21.0]}'
	py <<-'EOF'
		import array, math, random
		rng = random.Random(1)
		def f32(values): return array.array("f", values)        # rounds to nearest, overflows to inf
		def any_f32(n): return f32(struct.unpack(f"<{n}f", rng.randbytes(4 * n)))
		def same(got, want):
		    """To the bit; a NaN has too many of them."""
		    got, want = f32(struct.unpack(f"<{len(got) // 4}f", got)), f32(want)
		    assert len(got) == len(want)
		    for i, (g, w) in enumerate(zip(got, want)):
		        bits = struct.pack("<f", g) == struct.pack("<f", w)
		        assert bits or math.isnan(g) and math.isnan(w), (i, g, w)
		def pack(values): return struct.pack(f"<{len(values)}f", *values)
		def axpby(a, x, b, y):
		    """A product, and a sum, of two floats rounds to float the same way by way of double."""
		    return f32([p + q for p, q in zip(f32([a * v for v in x]), f32([b * v for v in y]))])
		special = f32([0.0, -0.0, 1e-45, -1e-40, math.inf, -math.inf, math.nan, 3.4e38, 1.17549435e-38])
		for n in 0, 1, 9, 1000, 30000:
		    a, b = rng.uniform(-3, 3), rng.uniform(-3, 3)
		    a, b = f32([a])[0], f32([b])[0]
		    x, y = any_f32(n), any_f32(n)
		    if n > 100:
		        for i in range(81):
		            x[i], y[i] = special[i // 9], special[i % 9]
		    want = axpby(a, x, b, y)
		    st = st_pack({"a": ("F32", [], pack([a])), "x": ("F32", [n], pack(x)),
		                  "b": ("F32", [], pack([b])), "y": ("F32", [n], pack(y))})
		    answer = st_unpack(call("user/axpby", st, "safetensors"))
		    assert list(answer) == ["z"] and answer["z"][:2] == ("F32", [n]), answer
		    same(answer["z"][2], want)
		    same(call("user/axpby", pack([a]) + pack(x) + pack([b]) + pack(y), "raw"), want)
		    def show(v): return v if math.isfinite(v) else "NaN" if v != v else "Infinity" if v > 0 else "-Infinity"
		    text = call("user/axpby", {"a": a, "x": [show(v) for v in x], "b": b, "y": [show(v) for v in y]})
		    same(pack(f32([float(v) for v in json.loads(text)["z"]])), want)
		assert_stats(processed=16, failed=0, rejected=0)
		[event] = [e for e in events("KernelRegistered") if e["id"] == "user/axpby"]
		assert event["version"] == "1.0"
		assert [e["id"] for e in events("KernelActivated")][-1] == "user/axpby"
	EOF
}

@test "kernels: two directories; the first one that describes an id has it; one that is not there" {
	local other=$BATS_TEST_TMPDIR/other

	kernels axpby
	mkdir "$other"
	library version_2 "$other/version_1.so"
	cp "$KERNELS_SRC/version.ini" "$other/"
	rk_up "kernels_dir=$KERNELS:$other:/nonexistent,hot_reload_enabled=yes"
	assert_value stats/kernels_registered 11
	assert_value config/kernels_dir "$KERNELS:$other:/nonexistent"
	run call user/version '{"ms":0}'
	assert_output '{"first":2,"second":2}'
	run call user/axpby '{"a":1,"x":[1],"b":1,"y":[2]}'
	assert_output '{"z":[3.0]}'
	OTHER=$other py <<-'EOF'
		other = pathlib.Path(os.environ["OTHER"])
		[refused] = events("KernelRefused")
		assert refused["file"] == "/nonexistent" and "No such file" in refused["why"], refused
		(other / "twice.ini").write_text((KERNELS / "axpby.ini").read_text().replace("axpby.so", f"{KERNELS}/axpby.so"))
		assert reload() == "EEXIST"
		why = events("KernelRefused")[1]["why"]
		assert why == f"{other}/twice.ini: id: user/axpby is described by {KERNELS}/axpby.ini already", why
		assert json.loads(call("user/axpby", {"a": 1, "x": [1], "b": 1, "y": [2]})) == {"z": [3]}
		(KERNELS / "axpby.ini").unlink()
		reload()
		assert events("KernelChanged")[0]["id"] == "user/axpby" and events("KernelUnregistered") == []
		assert json.loads(call("user/axpby", {"a": 1, "x": [1], "b": 1, "y": [2]})) == {"z": [3]}
		assert get("kernels/user/axpby/messages_processed") == "3"
	EOF
}

@test "kernels: a wrong description names file, line, key and what is allowed; nobody else stops" {
	kernels axpby version_1
	rk_up_kernels
	py <<-'EOF'
		import re
		good, file = (KERNELS / "axpby.ini").read_text(), KERNELS / "axpby.ini"
		lines = good.splitlines()
		def at(start): return 1 + next(i for i, line in enumerate(lines) if line.startswith(start))
		table = [
		    ("id ", "id = axpby", ":{}: id: 'axpby' is no DOMAIN/NAME"),
		    ("id ", "id = User/axpby", ":{}: id: .*a-z or 0-9"),
		    ("id ", "id = user/" + "x" * 64, ":{}: id: .*at most 63 characters"),
		    ("id ", "id = user/../x", ":{}: id: "),
		    ("id ", "ID = user/axpby", r":{}: ID: unknown key \(did you mean id\?\); \[kernel\] has id, mode, description"),
		    ("description", "mode = fast", ":{}: mode: 'fast' is no mode; use batch or ring"),
		    ("description", "batchable = n", r":{}: batchable: only \[cuda\] launches messages together"),
		    ("description", "timeout = 5d", ":{}: timeout: .*24h"),
		    ("description", "timeout = -1s", ":{}: timeout: .*24h"),
		    ("description", "max_queue_depth = 0", ":{}: max_queue_depth: .*from 1 to 1000000"),
		    ("description", "version = a b", ":{}: version: 'a b' is no version: .*letters, digits"),
		    ("description", "domain = user", r":{}: domain: unknown key"),
		    ("description", "id = user/other", ":{}: id: .*given twice"),
		    ("x = ", "x = f33[n]", r":{}: x: 'f33' is no element type; there are .*f16.*f32.*bool"),
		    ("x = ", "x = f32[n", r":{}: x: .*\]"),
		    ("x = ", "x = f32[]", ":{}: x: "),
		    ("x = ", "x = f32[1,2,3,4,5,6,7,8,9]", ":{}: x: more than 8 dimensions"),
		    ("x = ", "x = f32[n] = 3", ":{}: x: only a scalar input can have a default"),
		    ("a = ", "a = f32 = much", ":{}: a: .*default"),
		    ("a = ", "x = f32", ":{}: x: |:{}: x: ".format(at("a = "), at("x = "))),
		    ("z = ", "z = f32[q]", ":{}: z: .*q"),
		    ("z = ", "", ": args: |outputs"),
		    ("library", "library =", ":{}: library: .*builtin"),
		    ("library", "library = nothing.so", r": library: .*/nothing\.so: No such file"),
		    ("library", "module = x", r":{}: module: unknown key; \[cpu\] has library, entry, args"),
		    ("entry", "entry = a-b", ":{}: entry: 'a-b' is no C function's name"),
		    ("entry", "", r": entry is missing in \[cpu\]"),
		    ("args", "", r": args is missing in \[cpu\]"),
		    ("args", "args = a, x, b, y, z, m", ":{}: args: 'm' is no input, no output"),
		    ("args", "args = a, x, b, z, n", ":{}: args: input 'y' is missing"),
		    ("args", "args = a, x, b, y, y, z, n", ":{}: args: input 'y' is repeated"),
		    ("[cpu]", "[gpu]", r": unknown section \[gpu\]; there are \[kernel\]"),
		    ("[cpu]", "[cpu", r":{}: .*\]"),
		    ("[inputs]", "rubbish", ':{}: not "key = value"'),
		    ("description", "description = " + "x" * 20000, ":{}: a line of"),
		    ("description", "description = a\0b", ":{}: .*NUL"),
		    ("description", "  indented = 1", ":{}: an indented line"),
		]
		def attempt(start, line, sentence):
		    number = at(start)
		    file.write_text("\n".join(lines[:number - 1] + [line] + lines[number:]) + "\n")
		    other = KERNELS / f"other{number}.ini"
		    other.write_text((KERNELS_SRC / "version.ini").read_text().replace("user/version", "user/other"))
		    seen, kernels = len(events("KernelRefused")), get("stats/kernels_registered")
		    what = reload()
		    assert what == ("ENOENT" if "No such" in sentence else "EINVAL"), what
		    status = get("last_cmd_status")
		    sentence = sentence.format(number) if "{" in sentence else sentence
		    assert status.startswith(f"reload: 1 refused, all else is applied: {file}:"), status
		    assert re.search(sentence, status) and status.isprintable() and len(status) < 500, status
		    refused = events("KernelRefused")
		    assert len(refused) == seen + 1 and refused[-1]["file"] == str(file), refused
		    assert refused[-1]["why"] in status, refused
		    # what the file said before goes on, and others come
		    assert json.loads(call("user/axpby", {"a": 2, "x": [1], "b": 1, "y": [2]})) == {"z": [4]}
		    assert json.loads(call("user/other", {"ms": 0})) == {"first": 1, "second": 1}
		    assert int(get("stats/kernels_registered")) == int(kernels) + 1
		    other.unlink()
		    file.write_text(good)
		    assert reload() == "ok" and get("last_cmd_status") == "ok"
		    assert get("stats/kernels_registered") == kernels
		KERNELS_SRC = pathlib.Path(os.environ["KERNELS_SRC"])
		errors(table, attempt)
		assert events("KernelChanged") == [] and get("state") == "Running"
		assert [e["id"] for e in events("KernelUnregistered")] == ["user/other"] * len(table)
	EOF
}

@test "kernels: files that are no descriptions are passed over; unreadable ones are refused" {
	kernels axpby
	rk_up_kernels
	echo rubbish >"$KERNELS/notes.txt"
	echo rubbish >"$KERNELS/.hidden.ini"
	echo rubbish >"$KERNELS/axpby.ini~"
	echo rubbish >"$KERNELS/.ini"
	control reload
	assert_value stats/kernels_registered 10
	mkdir "$KERNELS/dir.ini"
	mkfifo "$KERNELS/fifo.ini"
	ln -s /nonexistent "$KERNELS/link.ini"
	py <<-'EOF'
		assert reload() == "EISDIR"
		assert "reload: 3 refused" in get("last_cmd_status")
		assert [os.path.basename(e["file"]) for e in events("KernelRefused")] == ["dir.ini", "fifo.ini", "link.ini"]
		assert get("stats/kernels_registered") == "10"
	EOF
	# the directory itself goes: so do its kernels
	rm -r "$KERNELS"
	run control reload
	assert_failure
	assert_value stats/kernels_registered 9
	assert_value state Running
}

@test "kernels: an id that is built in stays as it is" {
	kernels axpby
	sed -i 's,user/axpby,core/echo,' "$KERNELS/axpby.ini"
	rk_up_kernels
	assert_value stats/kernels_registered 9
	run bash -c 'echo reload >"$1"' reload "$MNT/control"
	assert_failure
	assert_output --partial "File exists"
	assert_value last_cmd_status "reload: 1 refused, all else is applied: $KERNELS/axpby.ini: id: core/echo is built in; choose another"
	run call core/echo '{"data":[1]}'
	assert_output '{"data":[1]}'
	# another name in its domain is fine
	sed -i 's,core/echo,core/axpby,' "$KERNELS/axpby.ini"
	control reload
	run call core/axpby '{"a":1,"x":[1],"b":1,"y":[2]}'
	assert_output '{"z":[3.0]}'
}

@test "kernels: a library must be trusted, and so must every directory on its way" {
	local dir=$BATS_TEST_TMPDIR/way

	kernels axpby
	mkdir -p "$dir/below"
	cp "$KERNELS/axpby.so" "$dir/below/lib.so"
	sed -i "s,axpby.so,$dir/below/lib.so," "$KERNELS/axpby.ini"
	rk_up_kernels
	assert_value stats/kernels_registered 10
	WAY=$dir py <<-'EOF'
		import re
		way = pathlib.Path(os.environ["WAY"])
		lib, below = way / "below/lib.so", way / "below"
		description = (KERNELS / "axpby.ini").read_text()
		def world(file): return lambda: file.chmod(0o777)
		def theirs(file): return lambda: os.chown(file, 65534, 65534)
		def link(target):
		    def run():
		        lib.unlink()
		        lib.symlink_to(target)
		    return run
		def make(how):
		    def run():
		        lib.unlink()
		        how(lib)
		    return run
		def trusted(): pass
		def sticky():                                           # as /tmp is
		    below.chmod(0o1777)
		def sticky_theirs():
		    below.chmod(0o1777)
		    os.chown(below, 65534, 65534)
		def link_to_trusted():
		    (way / "real.so").write_bytes(lib.read_bytes())
		    link(way / "real.so")()
		def link_to_untrusted():
		    link_to_trusted()
		    (way / "real.so").chmod(0o666)
		def link_elsewhere():
		    elsewhere = way / "elsewhere"
		    elsewhere.mkdir()
		    elsewhere.chmod(0o777)
		    lib.rename(way / "real.so")
		    (elsewhere / "link").symlink_to(way / "real.so")
		    lib.symlink_to(elsewhere / "link")
		def group():
		    os.chown(lib, 0, 65534)
		    lib.chmod(0o775)
		table = [
		    (trusted, "ok", ""),
		    (sticky, "ok", ""),
		    (link_to_trusted, "ok", ""),
		    (group, "EACCES", f"{lib} is writable by group 65534: chmod g-w"),
		    (link_elsewhere, "EACCES", "elsewhere is writable by everybody"),
		    (world(lib), "EACCES", f"{lib} is writable by everybody: chmod o-w"),
		    (world(below), "EACCES", f"{below} is writable by everybody"),
		    (world(way), "EACCES", f"{way} is writable by everybody"),
		    (theirs(lib), "EACCES", f"{lib} belongs to uid 65534: it must belong to root or uid 0"),
		    (theirs(below), "EACCES", f"{below} belongs to uid 65534"),
		    (sticky_theirs, "EACCES", f"{below} belongs to uid 65534"),
		    (link_to_untrusted, "EACCES", "real.so is writable by everybody"),
		    (make(os.mkfifo), "EACCES", "no regular file"),
		    (make(os.mkdir), "EACCES", "no regular file"),
		    (lib.unlink, "ENOENT", "No such file"),
		    (link("/dev/null"), "EACCES", ""),
		    (link("lib.so"), "ELOOP", ""),
		]
		binary = lib.read_bytes()
		def attempt(change, want, sentence):
		    subprocess.run(["rm", "-rf", way])
		    below.mkdir(parents=True)
		    lib.write_bytes(binary)
		    (KERNELS / "axpby.ini").unlink(missing_ok=True)
		    assert reload() == "ok" and get("stats/kernels_registered") == "9"
		    change()
		    (KERNELS / "axpby.ini").write_text(description)
		    assert (what := reload()) == want, what
		    status = get("last_cmd_status")
		    assert sentence in status and (want == "ok" or f"{KERNELS}/axpby.ini: library: " in status), status
		    assert get("stats/kernels_registered") == ("10" if want == "ok" else "9")
		    if want == "ok":
		        assert json.loads(call("user/axpby", {"a": 2, "x": [1], "b": 1, "y": [2]})) == {"z": [4]}
		errors(table, attempt)
	EOF
}

@test "kernels: a description must be trusted, and so must its directory" {
	kernels axpby
	rk_up_kernels
	assert_value stats/kernels_registered 10
	py <<-'EOF'
		file, text = KERNELS / "axpby.ini", (KERNELS / "axpby.ini").read_text()
		def chmod(path, mode, gid=0, uid=0): return lambda: (os.chown(path, uid, gid), path.chmod(mode))
		def link():
		    file.rename(KERNELS / "elsewhere")
		    file.symlink_to("elsewhere")
		    os.lchown(file, 65534, 65534)
		table = [
		    (chmod(file, 0o644), "ok", ""),
		    (chmod(file, 0o664), "ok", ""),
		    (chmod(KERNELS, 0o1777), "ok", ""),
		    (chmod(file, 0o646), "EACCES", f"{file} is writable by everybody: chmod o-w"),
		    (chmod(file, 0o664, gid=65534), "EACCES", f"{file} is writable by group 65534: chmod g-w"),
		    (chmod(file, 0o600, uid=65534), "EACCES", f"{file} belongs to uid 65534: it must belong to root or uid 0"),
		    (link, "EACCES", f"{file} belongs to uid 65534"),
		    (chmod(KERNELS, 0o777), "EACCES", f"kernels_dir {KERNELS} is writable by everybody"),
		    (chmod(KERNELS, 0o755, uid=65534), "EACCES", f"kernels_dir {KERNELS} belongs to uid 65534"),
		]
		def attempt(change, want, sentence):
		    file.unlink(missing_ok=True)
		    chmod(KERNELS, 0o755)()
		    assert reload() == "ok" and get("stats/kernels_registered") == "9"
		    file.write_text(text)
		    change()
		    assert (what := reload()) == want, what
		    assert sentence in get("last_cmd_status"), get("last_cmd_status")
		    assert get("stats/kernels_registered") == ("10" if want == "ok" else "9")
		errors(table, attempt)
	EOF
}

@test "kernels: a library that cannot be loaded: its calls are ENODEV with the reason, others go on" {
	kernels axpby undefined crash_load
	printf '%s\n' '[kernel]' 'id = user/undefined' '[outputs]' 'ended = u32' '[cpu]' 'library = undefined.so' \
		'entry = undefined' 'args = ended' >"$KERNELS/undefined.ini"
	sed -e 's,user/undefined,user/crash-load,' -e 's,undefined,crash_load,' "$KERNELS/undefined.ini" >"$KERNELS/crash_load.ini"
	echo "no library" >"$KERNELS/text.so"
	sed -e 's,user/axpby,user/text,' -e s/axpby.so/text.so/ "$KERNELS/axpby.ini" >"$KERNELS/text.ini"
	sed -e 's,user/axpby,user/entry,' -e 's/^entry.*/entry = axpbz/' "$KERNELS/axpby.ini" >"$KERNELS/entry.ini"
	rk_up_kernels
	py <<-'EOF'
		request = {"a": 2, "x": [1], "b": 1, "y": [2]}
		for kernel, data, sentence in [
		        ("user/entry", request, "axpbz"),
		        ("user/text", request, "text.so"),
		        ("user/undefined", {}, "rkfs_test_function_that_nobody_has"),
		        ("user/crash-load", {}, "SIGABRT while loading its library")]:
		    until(lambda: [e["id"] for e in events("KernelFailed")].count(kernel), 1)
		    [event] = [e for e in events("KernelFailed") if e["id"] == kernel]
		    assert sentence in event["why"] and kernel in event["why"], event
		    assert sentence in last_error(kernel), last_error(kernel)
		    assert outcome(call, kernel, data) == "ENODEV", kernel
		assert json.loads(call("user/axpby", request)) == {"z": [4]}
		assert get("stats/kernels_registered") == "14" and get("stats/kernels_active") == "10"
		assert get("state") == "Running"
		# trying again changes nothing, and does not hang
		put("kernels/user/entry/enable", "1")
		assert outcome(call, "user/entry", request) in ("EIO", "ENODEV")
		until(lambda: [e["id"] for e in events("KernelFailed")].count("user/entry"), 2)
		# mended, it works
		file = KERNELS / "entry.ini"
		file.write_text(file.read_text().replace("axpbz", "axpby"))
		assert reload() == "ok"
		assert json.loads(call("user/entry", request)) == {"z": [4]}
		assert get("stats/kernels_active") == "11"
	EOF
	# of the library that aborts, an expected one
	rm -f "$BATS_TEST_TMPDIR"/sanitizer*
}

@test "kernels: a description changed while calls run: none fails, none mixes versions" {
	kernels version_1 version_2
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels worker_threads=100
	py <<-'EOF'
		old = (KERNELS / "version.ini").read_text()
		new = old.replace("version_1.so", "version_2.so").replace("[inputs]", "version = 2.0\n[inputs]")
		over, answers = threading.Event(), []
		def check(text):
		    answer = json.loads(text)
		    assert answer["first"] == answer["second"] in (1, 2), answer
		    answers.append(answer["first"])
		def keep(ms):                                           # one descriptor for all
		    def run():
		        fd = open_call("user/version")
		        while not over.is_set():
		            check(ask(fd, {"ms": ms}))
		    return run
		def reopen():
		    while not over.is_set():
		        check(call("user/version", {"ms": 1}))
		def raw():
		    while not over.is_set():
		        answer = call("user/version", struct.pack("<I", 2), "raw")
		        check(json.dumps(dict(zip(("first", "second"), struct.unpack("<2I", answer)))))
		def slowly():                                           # reloaded within the request
		    fd = open_call("user/version")
		    while not over.is_set():
		        os.write(fd, b'{"ms"')
		        seen = len(answers)
		        while len(answers) < seen + 3 and not over.is_set():
		            os.sched_yield()
		        check(ask(fd, b":1}"))
		with Watch():
		    # 100 at once, all under way when the change comes
		    hundred = [Task(lambda: check(call("user/version", {"ms": 5000}))) for _ in range(100)]
		    until_in_flight(100)
		    (KERNELS / "version.ini").write_text(new)
		    assert reload() == "ok"
		    assert get("kernels/user/version/version") == "2.0"
		    assert json.loads(call("user/version", {"ms": 0})) == {"first": 2, "second": 2}
		    assert [t.result() for t in hundred] == ["ok"] * 100
		    assert answers == [1] * 100, answers                # accepted before: run by what was there
		    answers.clear()
		    # and again and again under clients of every kind
		    tasks = [Task(f) for f in (keep(0), keep(3), keep(30), reopen, reopen, raw, slowly)]
		    for round in range(30):
		        seen = len(answers)
		        while len(answers) < seen + 10 and all(t.is_alive() for t in tasks):
		            os.sched_yield()
		        (KERNELS / "version.ini").write_text(new if round % 2 else old)
		        assert reload() == "ok"
		        version = 2 if round % 2 else 1
		        assert json.loads(call("user/version", {"ms": 0})) == {"first": version, "second": version}
		    over.set()
		    ends = [t.result() for t in tasks]
		    assert ends == ["ok"] * len(tasks), ends
		assert set(answers) == {1, 2} and len(answers) > 300, len(answers)
		n = stats()
		assert n["failed"] == n["cancelled"] == n["rejected"] == n["in_flight"] == 0, n
		assert [e["id"] for e in events("KernelChanged")] == ["user/version"] * 31
		assert len(events("WorkerStarted")) == 1 and get("stats/kernels_registered") == "10"
		until(lambda: get("stats/kernels_active"), "10")         # the old ones are unloaded
	EOF
}

@test "kernels: a library changed under its name: reload brings the new code, a new worker does not" {
	library version_1 "$BATS_TEST_TMPDIR/1.so"
	library version_2 "$BATS_TEST_TMPDIR/2.so"
	mkdir "$KERNELS"
	cp "$BATS_TEST_TMPDIR/1.so" "$KERNELS/version_1.so"
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels
	TMP=$BATS_TEST_TMPDIR py <<-'EOF'
		import shutil
		tmp, lib = pathlib.Path(os.environ["TMP"]), KERNELS / "version_1.so"
		def version(): return json.loads(call("user/version", {"ms": 0}))["first"]
		fd = open_call("user/version")
		assert version() == 1
		shutil.copy(tmp / "2.so", lib)                          # written to
		assert version() == 1
		old = worker()
		os.kill(old, signal.SIGKILL)
		until(lambda: len(events("WorkerStarted")), 2)
		assert version() == 1 and worker() != old               # it loads what was checked
		assert reload() == "ok" and version() == 2
		shutil.copy(tmp / "1.so", KERNELS / "new")              # replaced
		os.rename(KERNELS / "new", lib)
		assert version() == 2
		assert reload() == "ok" and version() == 1
		assert len(events("KernelChanged")) == 2
		assert reload() == "ok" and len(events("KernelChanged")) == 2   # nothing has changed
		for round in range(20):                                 # nothing piles up
		    shutil.copy(tmp / f"{round % 2 + 1}.so", KERNELS / "new")
		    os.rename(KERNELS / "new", lib)
		    assert reload() == "ok" and json.loads(ask(fd, b'{"ms":0}'))["second"] == round % 2 + 1
		def libraries(pid):
		    """Inodes of the version_1.so that a process has mapped or open."""
		    found = set()
		    with open(f"/proc/{pid}/maps") as f:
		        found |= {line.split()[4] for line in f if "version_1.so" in line}
		    for fd in os.listdir(f"/proc/{pid}/fd"):
		        try:
		            if "version_1.so" in os.readlink(f"/proc/{pid}/fd/{fd}"):
		                found.add(str(os.stat(f"/proc/{pid}/fd/{fd}").st_ino))
		        except FileNotFoundError:
		            pass
		    return found
		until(lambda: len(libraries(worker())), 1)
		os.close(fd)                                            # it holds the one that it was opened with
		until(lambda: len(libraries(DAEMON)), 1)
		# one that is changed into rubbish is refused by the loader, and the next one works
		lib.unlink()
		lib.write_text("rubbish")
		assert reload() == "ok"
		until(lambda: len(events("KernelFailed")), 1)
		assert outcome(version) == "ENODEV"
		shutil.copy(tmp / "2.so", lib)
		assert reload() == "ok" and version() == 2
	EOF
}

@test "kernels: removed: ENODEV on open descriptors, messages in flight complete, its directory is gone" {
	kernels version_1
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels
	py <<-'EOF'
		text, kernel = (KERNELS / "version.ini").read_text(), path("kernels/user/version")
		idle, idle_raw, unread = open_call("user/version"), open_call("user/version", encoding="raw"), open_call("user/version")
		processed = os.open(path("kernels/user/version/messages_processed"), os.O_RDONLY)
		enable = os.open(path("kernels/user/version/enable"), os.O_RDWR)
		assert ask(idle, b'{"ms":0}')
		write_all(unread, b'{"ms":0}')
		assert os.read(unread, 5) == b'{"fir'
		running = [submit("user/version", {"ms": 500}) for _ in range(6)]
		(KERNELS / "version.ini").unlink()
		assert reload() == "ok" and get("last_cmd_status") == "ok"
		assert not os.path.exists(kernel) and not os.path.exists(path("kernels/user"))
		assert sorted(os.listdir(path("kernels"))) == ["core", "graph", "risk"]
		assert get("stats/kernels_registered") == "9"
		assert [e["id"] for e in events("KernelUnregistered")] == ["user/version"]
		assert outcome(open_call, "user/version") == "ENOENT"
		assert outcome(os.write, idle, b'{"ms":0}') == "ENODEV"
		assert outcome(os.read, idle, 100) == "ENODEV"
		assert outcome(ask, idle_raw, struct.pack("<I", 0)) == "ENODEV" == outcome(os.read, idle_raw, 100)
		assert outcome(os.write, enable, b"1") == "ENODEV"
		assert poll(idle, select.POLLOUT, 0) == select.POLLOUT   # a write tells
		assert stats()["in_flight"] == 6
		assert read_all(unread) == b'st":1,"second":1}\n'
		assert outcome(ask, unread, b'{"ms":0}') == "ENODEV" == outcome(os.read, unread, 100)
		assert [answer_of(fd) for fd in running] == [b'{"first":1,"second":1}\n'] * 6
		assert os.pread(processed, 100, 0) == b"8\n"
		until(lambda: get("stats/kernels_active"), "9")
		until(lambda: "version_1" in pathlib.Path(f"/proc/{worker()}/maps").read_text(), False)
		assert_stats(processed=8, failed=0, in_flight=0)
		# it comes back, and descriptors with it
		(KERNELS / "version.ini").write_text(text)
		assert reload() == "ok"
		assert ask(idle, b'{"ms":0}') == ask(unread, b'{"ms":0}') == b'{"first":1,"second":1}\n'
		assert ask(idle_raw, struct.pack("<I", 0)) == struct.pack("<2I", 1, 1)
		assert get("kernels/user/version/messages_processed") == "3"
	EOF
}

@test "kernels: a description that changes its signature: open descriptors see the new one" {
	kernels axpby
	rk_up_kernels
	py <<-'EOF'
		file = KERNELS / "axpby.ini"
		fd, raw = open_call("user/axpby"), open_call("user/axpby", encoding="raw")
		assert ask(fd, {"a": 1, "x": [1], "b": 1, "y": [2]}) == b'{"z":[3.0]}\n'
		file.write_text(file.read_text().replace("b = f32", "b = f32 = 10"))
		assert reload() == "ok"
		assert get("kernels/user/axpby/inputs").splitlines()[2] == "b = f32 = 10"
		assert ask(fd, {"a": 1, "x": [1], "y": [2]}) == b'{"z":[21.0]}\n'
		assert ask(raw, struct.pack("<3f", 1, 1, 2)) == struct.pack("<f", 21)
		# now there is no raw encoding any more: two lengths, one file
		file.write_text(file.read_text().replace("y = f32[n]", "y = f32[m,n]").replace("y, z, n", "y, z, m"))
		assert reload() == "ok"
		assert "call.raw" not in os.listdir(path("kernels/user/axpby"))
		assert outcome(open_call, "user/axpby", 0, "raw") == "ENOENT"
		assert outcome(ask, raw, struct.pack("<3f", 1, 1, 2)) == "ENODEV"
		assert outcome(ask, fd, {"a": 1, "x": [1], "y": [2]}) == "EINVAL"
	EOF
}

@test "kernels: enable drains one kernel alone; kernels_active moves; calls wait while it loads" {
	kernels version_1
	cat >"$BATS_TEST_TMPDIR/slow.c" <<-EOF
		#include <stdint.h>
		#include <unistd.h>
		static void __attribute__((constructor)) slow(void)
		{
			while (!access("$BATS_TEST_TMPDIR/hold", F_OK))
				usleep(1000);
		}
		void slow_load(uint32_t x, uint32_t *y) { *y = x + 1; }
	EOF
	KERNELS_SRC=$BATS_TEST_TMPDIR library slow "$KERNELS/slow.so"
	printf '%s\n' '[kernel]' 'id = user/slow' '[inputs]' 'x = u32' '[outputs]' 'y = u32' '[cpu]' 'library = slow.so' \
		'entry = slow_load' 'args = x, y' >"$KERNELS/slow.ini"
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels worker_threads=2
	HOLD=$BATS_TEST_TMPDIR/hold py <<-'EOF'
		hold = pathlib.Path(os.environ["HOLD"])
		assert get("stats/kernels_active") == "11"
		running = [submit("user/version", {"ms": 500}) for _ in range(4)]
		put("kernels/user/version/enable", "0")
		assert get("kernels/user/version/enable") == "0"
		assert outcome(call, "user/version", {"ms": 0}) == "ENODEV"
		assert stats()["in_flight"] == 4 and get("state") == "Running"
		for kernel, request in ("core/echo", {"data": [1]}), ("user/slow", {"x": 1}):
		    assert call(kernel, request)                        # nobody else is drained
		assert [answer_of(fd) for fd in running] == [b'{"first":1,"second":1}\n'] * 4
		until(lambda: get("stats/kernels_active"), "10")
		until(lambda: [e["id"] for e in events("KernelDeactivated")], ["user/version"])
		assert "version_1" not in pathlib.Path(f"/proc/{worker()}/maps").read_text()
		put("kernels/user/version/enable", "1")
		assert call("user/version", {"ms": 0}) == b'{"first":1,"second":1}\n'
		assert get("stats/kernels_active") == "11"
		# calls during the loading wait, and no other kernel waits for it
		put("kernels/user/slow/enable", "0")
		until(lambda: get("stats/kernels_active"), "10")
		activated = len(events("KernelActivated"))
		hold.touch()
		put("kernels/user/slow/enable", "1")
		waiting = [submit("user/slow", {"x": i}) for i in range(5)]
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
		assert len(events("KernelActivated")) == activated and stats()["in_flight"] == 5
		hold.unlink()
		assert [json.loads(answer_of(fd))["y"] for fd in waiting] == [1, 2, 3, 4, 5]
		assert [e["id"] for e in events("KernelActivated")][activated:] == ["user/slow"]
		# a drain that is called off while messages of it still run
		running = submit("user/version", {"ms": 300})
		put("kernels/user/version/enable", "0")
		put("kernels/user/version/enable", "1")
		assert call("user/version", {"ms": 0}) == answer_of(running) == b'{"first":1,"second":1}\n'
		assert_stats(failed=0, cancelled=0, in_flight=0, rejected=1)
	EOF
}

@test "kernels: more than max_kernel_instances: ENOSPC, until another one is disabled" {
	kernels axpby version_1
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels max_kernel_instances=10
	py <<-'EOF'
		assert get("stats/kernels_registered") == "11" and get("stats/kernels_active") == "10"
		assert json.loads(call("user/axpby", {"a": 1, "x": [1], "b": 1, "y": [2]})) == {"z": [3]}
		[event] = events("KernelFailed")
		assert event["id"] == "user/version" and "max_kernel_instances is 10" in event["why"], event
		assert outcome(call, "user/version", {"ms": 0}) == "ENOSPC"
		assert "max_kernel_instances" in last_error("user/version")
		put("kernels/core/delay/enable", "0")
		until(lambda: [e["id"] for e in events("KernelDeactivated")], ["core/delay"])
		assert get("stats/kernels_active") == "9"
		put("kernels/user/version/enable", "1")                 # try again
		assert call("user/version", {"ms": 0}) == b'{"first":1,"second":1}\n'
		assert get("stats/kernels_active") == "10"
		put("kernels/core/delay/enable", "1")
		until(lambda: outcome(call, "core/delay", {"ms": 0}), "ENOSPC")
		# a changed description needs no second place for long
		file = KERNELS / "version.ini"
		file.write_text(file.read_text().replace("[inputs]", "version = 2.0\n[inputs]"))
		assert reload() == "ok"
		until(lambda: outcome(call, "user/version", {"ms": 0}), b'{"first":1,"second":1}\n')
	EOF
}

@test "kernels: timeout and max_queue_depth of a description are its own" {
	kernels version_1
	sed 's/^id .*/&\ntimeout = 300ms\nmax_queue_depth = 1/' "$KERNELS_SRC/version.ini" >"$KERNELS/version.ini"
	rk_up_kernels worker_threads=1
	py <<-'EOF'
		long = submit("core/delay", {"ms": 600})                # not this one
		queued = submit("user/version", {"ms": 0})
		full = open_call("user/version", os.O_NONBLOCK)
		write_all(full, b'{"ms":0}')
		assert outcome(os.read, full, 10) == "EAGAIN" and get("kernels/user/version/queue_depth") == "1"
		assert poll(full, select.POLLIN | select.POLLOUT, 0) == 0
		more = [submit("core/delay", {"ms": 0}) for _ in range(5)]      # nor that queue
		assert outcome(answer_of, queued) == "ETIMEDOUT"
		assert "did not start within its timeout" in last_error("user/version"), last_error("user/version")
		os.close(full)
		assert all(b"waited_ms" in answer_of(fd) for fd in [long, *more])
		assert len(events("WorkerStarted")) == 1
		assert outcome(call, "user/version", {"ms": 60000}) == "ETIMEDOUT"
		assert "ran longer than its timeout" in last_error("user/version"), last_error("user/version")
		assert get("kernels/user/version/messages_timed_out") == "2"
		assert call("user/version", {"ms": 0}) == b'{"first":1,"second":1}\n'
		assert_stats(timed_out=2, failed=0)
	EOF
}
