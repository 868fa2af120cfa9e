#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# call.safetensors and call.raw, and what all encodings have in common.

load common

# numpy_check CHECK...
numpy_check() {
	run timeout 100 /usr/bin/python3 "$BATS_TEST_DIRNAME/numpy_check.py" "$MNT" "$@"
	assert_success
	assert_output --regexp "^ok $1"
	refute_output --partial FAILED
}

@test "encodings: the checker of what follows is right itself" {
	run /usr/bin/python3 "$BATS_TEST_DIRNAME/numpy_check.py" --self-test
	assert_success
}

@test "encodings: matmul 512x512 and odd shapes against NumPy" {
	rk_up
	numpy_check matmul matmul_odd
	assert_value stats/messages_processed 2
}

@test "encodings: pagerank of 20000 nodes against NumPy, with parameters, of what is no graph" {
	rk_up
	numpy_check pagerank pagerank_parameters pagerank_invalid
}

@test "encodings: value at risk against the closed form, seeded, with defaults, of what is no covariance" {
	rk_up
	numpy_check var var_defaults var_invalid
}

@test "encodings: safetensors as the format has it: order, padding, metadata, empty tensors" {
	rk_up
	py <<-'EOF'
		def f32(*values): return struct.pack(f"<{len(values)}f", *values)
		add, c = "core/vector-add", lambda raw: struct.unpack(f"<{len(raw) // 4}f", raw)
		def entry(begin, end, shape=None): return {"dtype": "F32", "shape": shape or [(end - begin) // 4], "data_offsets": [begin, end]}
		two = {"a": entry(0, 8), "b": entry(8, 16)}
		data, swapped = f32(1, 2, 10, 20), f32(10, 20, 1, 2)
		plain = json.dumps(two)
		for request in (st_frame(plain, data),
		                st_frame(plain + " " * 100, data),      # padded
		                st_frame(json.dumps(two, separators=(",", ":")), data),
		                st_frame(json.dumps(two, indent=4), data),
		                st_frame(json.dumps({"b": entry(0, 8), "a": entry(8, 16)}), swapped),
		                st_frame(json.dumps({"b": entry(8, 16), "a": entry(0, 8)}), data),
		                st_frame(json.dumps({"__metadata__": {"format": "pt", "é": ""}, **two}), data),
		                st_frame(json.dumps({"__metadata__": {}, **two}), data),
		                st_frame(plain.replace('"a"', r'"\u0061"'), data)):
		    answer = call(add, request, "safetensors")
		    assert c(st_unpack(answer)["c"][2]) == (11, 22), request
		    fd = open_call(add, encoding="safetensors")         # byte by byte
		    for byte in request:
		        os.write(fd, bytes([byte]))
		    assert read_all(fd, 7) == answer
		    assert ask(fd, request) == answer
		    os.close(fd)
		empty = st_unpack(call(add, st_pack({"a": ("F32", [0], b""), "b": ("F32", [0], b"")}), "safetensors"))
		assert empty == {"c": ("F32", [0], b"")}, empty
		scalar = st_unpack(call("core/delay", st_pack({"ms": ("U32", [], struct.pack("<I", 3))}), "safetensors"))
		dtype, shape, raw = scalar["waited_ms"]
		assert (dtype, shape) == ("U32", []) and struct.unpack("<I", raw)[0] >= 3, scalar
		matrix = st_unpack(call("core/matmul", st_pack({"a": ("F32", [1, 2], f32(1, 2)), "b": ("F32", [2, 3], f32(1, 2, 3, 4, 5, 6))}), "safetensors"))
		assert matrix == {"c": ("F32", [1, 3], f32(9, 12, 15))}, matrix
		assert_stats(rejected=0, failed=0)
	EOF
}

@test "encodings: safetensors malformed in every way: its errno and a sentence, and it costs nothing" {
	rk_up max_header_bytes=64K,max_message_bytes=1M
	py <<-'EOF'
		import re
		add, echo, var = "core/vector-add", "core/echo", "risk/monte-carlo-var"
		def t(begin, end, shape=None, dtype="F32", **more):
		    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end], **more}
		def two(a, b, data=bytes(16), **more): return st_frame(json.dumps({"a": a, "b": b, **more}), data)
		good = two(t(0, 8), t(8, 16))
		table = [
		    (add, b"", "ok", ""),                               # nothing written: nothing read
		    (add, good[:7], "EINVAL", "ends inside its header"),
		    (add, good[:8], "EINVAL", "ends inside its header"),
		    (add, good[:60], "EINVAL", "ends inside its header"),
		    (add, good[:-1], "EINVAL", "ends after 15 of 16 bytes of data"),
		    (add, good[:-16], "EINVAL", "ends after 0 of 16 bytes"),
		    (add, good + b"\0", "EINVAL", "bytes after the last tensor, which ends at byte 16"),
		    (add, struct.pack("<Q", 0), "EINVAL", "announce a header of 0 bytes, which has 2 to 100000000"),
		    (add, struct.pack("<Q", 1) + b"{", "EINVAL", "announce a header of 1 bytes"),
		    (add, struct.pack("<Q", 100000001), "EINVAL", "a header of 100000001 bytes"),
		    (add, struct.pack("<Q", 2**64 - 1), "EINVAL", "a header of 18446744073709551615 bytes"),
		    (add, struct.pack("<Q", 2**63), "EINVAL", "a header of 9223372036854775808 bytes"),
		    (add, struct.pack("<Q", 65537) + b"{", "EMSGSIZE", r"header has 65537 bytes, more than max_header_bytes \(65536\)"),
		    (add, b'{"a":[1,2],"b":[3,4]}', "EINVAL", "not safetensors: the first 8 bytes announce"),
		    (add, st_frame(" {}"), "EINVAL", r"does not begin with '\{'"),
		    (add, st_frame("[]"), "EINVAL", r"does not begin with '\{'"),
		    (add, st_frame('{"a":'), "EINVAL", "malformed JSON at line 1, column"),
		    (add, st_frame("{}\0\0"), "EINVAL", "malformed JSON"),
		    (add, st_frame("{} x"), "EINVAL", "malformed JSON.*end of file expected"),
		    (add, st_frame(json.dumps({"a": t(0, 8), "b": t(8, 16)}).replace('"b"', '"a"')), "EINVAL", "malformed JSON.*duplicate tensor 'a'"),
		    (add, st_frame(b'{"\xff":1}'), "EINVAL", "malformed JSON"),
		    (add, st_frame('{"a":' + "[" * 60000), "EINVAL", "malformed JSON.*depth"),
		    (add, st_frame("{}"), "EINVAL", "lacks the inputs 'a', 'b'"),
		    (add, st_frame(json.dumps({"a": t(0, 8)}), bytes(8)), "EINVAL", "lacks the input 'b'"),
		    (add, two(t(0, 8), t(8, 16), x=t(16, 16)), "EINVAL", "tensor 'x': there is no such input; the inputs are: a, b"),
		    (add, two(1, t(8, 16)), "EINVAL", "tensor 'a': an object of dtype, shape and data_offsets"),
		    (add, two({"dtype": "F32", "shape": [2]}, t(8, 16)), "EINVAL", "tensor 'a': an object of dtype"),
		    (add, two(t(0, 8, x=1), t(8, 16)), "EINVAL", "tensor 'a': an object of dtype"),
		    (add, two(t(0, 8, dtype="F64"), t(8, 16)), "EINVAL", "tensor 'a': dtype is F64; this input is F32"),
		    (add, two(t(0, 8, dtype="f32"), t(8, 16)), "EINVAL", "dtype is f32; this input is F32"),
		    (add, two(t(0, 8, dtype="BF16"), t(8, 16)), "EINVAL", "dtype is BF16"),
		    (add, two(t(0, 8, dtype=32), t(8, 16)), "EINVAL", "dtype is no string"),
		    (add, two(t(0, 8, shape=2), t(8, 16)), "EINVAL", "shape is no array"),
		    (add, two(t(0, 8, shape=[2.0]), t(8, 16)), "EINVAL", "element 0 of shape is no integer"),
		    (add, two(t(0, 8, shape=[-2]), t(8, 16)), "EINVAL", "element 0 of shape is no integer"),
		    (add, two(t(0, 8, shape=["2"]), t(8, 16)), "EINVAL", "element 0 of shape is no integer"),
		    (add, two(t(0, 8, shape=[1] * 9), t(8, 16)), "EINVAL", "shape has more than 8 elements"),
		    (add, two(t(0, 8, shape=[]), t(8, 16)), "EINVAL", "input 'a' has 0 axes in the request, not 1"),
		    (add, two(t(0, 8, shape=[1, 2]), t(8, 16)), "EINVAL", "input 'a' has 2 axes in the request, not 1"),
		    (add, two(t(0, 8), t(8, 20), bytes(20)), "EINVAL", "shapes disagree: dim n is 2 in input 'a' but 3 in input 'b'"),
		    (add, two(t(0, 8, shape=[3]), t(8, 16, shape=[3])), "EINVAL", "span 8 bytes, but its shape and dtype take 12"),
		    (add, two(t(0, 8, shape=[2**61]), t(8, 16, shape=[2**61])), "EMSGSIZE", "max_message_bytes"),
		    (add, two(t(0, 8, shape=[2**62]), t(8, 16, shape=[2**62])), "EMSGSIZE", "max_message_bytes"),
		    (add, two(t(0, 8, shape=[2**63 - 1]), t(8, 16, shape=[2**63 - 1])), "EMSGSIZE", "max_message_bytes"),
		    (add, two(t(0, 8, shape=[2**63]), t(8, 16)), "EINVAL", "malformed JSON|no integer"),
		    (add, two(t(0, 8), t(12, 20), bytes(20)), "EINVAL", "'b' begins at byte 12 of the data, but the one before ends at byte 8.*without gap"),
		    (add, two(t(4, 12), t(12, 20), bytes(20)), "EINVAL", "'a' begins at byte 4.*without gap"),
		    (add, two(t(0, 8), t(4, 12), bytes(12)), "EINVAL", "'b' begins at byte 4 .*inside the one that ends at byte 8.*without overlap"),
		    (add, two(t(0, 8), t(0, 8), bytes(8)), "EINVAL", "begins at byte 0 .*without overlap"),
		    (add, two({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}, t(8, 16)), "EINVAL", r"data_offsets are not \[BEGIN, END\]"),
		    (add, two({"dtype": "F32", "shape": [2], "data_offsets": [8]}, t(8, 16)), "EINVAL", r"data_offsets are not"),
		    (add, two({"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}, t(8, 16)), "EINVAL", "data_offsets has more than 2"),
		    (add, two({"dtype": "F32", "shape": [2], "data_offsets": "0"}, t(8, 16)), "EINVAL", "data_offsets is no array"),
		    (add, two({"dtype": "F32", "shape": [2], "data_offsets": [0, 2**63 - 1]}, t(8, 16)), "EINVAL", "span"),
		    (add, two(t(0, 8), t(8, 16), __metadata__=[]), "EINVAL", "__metadata__ is an array where an object of strings"),
		    (add, two(t(0, 8), t(8, 16), __metadata__={"k": 1}), "EINVAL", "__metadata__ holds .*only strings"),
		    (add, two(t(0, 200000), t(200000, 400000), bytes(400000)), "ok", ""),
		    (add, two(t(0, 400000), t(400000, 800000), bytes(800000)), "EMSGSIZE", "max_message_bytes"),
		    (var, st_pack({"weights": ("F64", [2], bytes(16)), "mean": ("F64", [2], bytes(16)), "covariance": ("F64", [2, 3], bytes(48))}),
		     "EINVAL", "dim k is 2 in input 'weights' but 3 in input 'covariance'|covariance"),
		    (echo, st_pack({"data": ("I8", [3], bytes(3))}), "EINVAL", "dtype is I8; this input is U8"),
		]
		def attempt(kernel, request, want, sentence):
		    before, seen = stats(), len(events("MessageRejected"))
		    fd = open_call(kernel, encoding="safetensors")
		    what = outcome(ask, fd, request)
		    what = "ok" if isinstance(what, bytes) else what
		    assert what == want, (what, last_error(kernel))
		    after = stats()
		    assert after["rejected"] == before["rejected"] + (want != "ok") and after["in_flight"] == 0
		    if want != "ok":
		        why = last_error(kernel)
		        assert why.startswith(kernel + ": ") and re.search(sentence, why), why
		        assert len(why) < 500 and why.isprintable(), why
		        new = events("MessageRejected")
		        assert len(new) == seen + 1 and new[-1]["why"] == (public(why) if want == "EINVAL" else why) and new[-1]["errno"] == want, new[-1]
		        outcome(os.read, fd, 10)                        # the error, where the write had it already
		    if kernel == add:
		        assert st_unpack(ask(fd, good))["c"][1] == [2]
		    os.close(fd)
		errors(table, attempt)
		assert get("state") == "Running" and len(events("WorkerStarted")) == 1
	EOF
}

@test "encodings: raw: the length tells the shapes; a wrong one says what would be right" {
	kernels axpby
	cat >"$KERNELS/fixed.ini" <<-'EOF'
		[kernel]
		id = user/fixed
		[inputs]
		a = f32
		x = f32[4]
		b = f32 = 2
		y = f32[4]
		[outputs]
		z = f32[4]
		[cpu]
		library = axpby.so
		entry = axpby
		args = a, x, b, y, z, n
	EOF
	sed -e 's/f32\[4\]/f32[n]/' -e s,user/fixed,user/half, "$KERNELS/fixed.ini" >"$KERNELS/half.ini"
	# a dim of its own for the fixed one: n comes from an input without elements' worth
	sed -i -e 's/^y = f32\[4\]/&\nk = u8[n]/' -e 's/z, n$/z, n, k/' "$KERNELS/fixed.ini"
	rk_up_kernels max_message_bytes=64K
	py <<-'EOF'
		def f32(*v): return struct.pack(f"<{len(v)}f", *v)
		def refused(kernel, request, errno_name, sentence):
		    fd = open_call(kernel, encoding="raw")
		    assert outcome(ask, fd, request) == errno_name, (kernel, len(request), last_error(kernel))
		    assert sentence in last_error(kernel), last_error(kernel)
		    os.close(fd)
		assert call("core/echo", bytes(range(256)), "raw") == bytes(range(256))
		assert call("core/vector-add", f32(1, 2, 10, 20), "raw") == f32(11, 22)
		assert call("core/reduce-sum", f32(1, 2, 3.5), "raw") == struct.pack("<d", 6.5)
		assert len(call("core/delay", struct.pack("<I", 0), "raw")) == 4
		assert call("user/half", f32(3, 1, 2, 10, 20), "raw") == f32(23, 46)     # b keeps its default
		refused("core/vector-add", f32(1, 2, 3), "EINVAL",
		        "a raw request of 12 bytes fits no n: its length is 8*n, a multiple of 8")
		refused("core/vector-add", b"1234567", "EINVAL", "7 bytes fits no n")
		refused("core/reduce-sum", b"12345", "EINVAL", "its length is 4*n, a multiple of 4")
		refused("user/half", f32(3, 1), "EINVAL", "8 bytes fits no n: its length is 8*n+4, a multiple of 8 plus 4")
		refused("user/half", b"12", "EINVAL", "8*n+4")
		refused("user/axpby", f32(1, 2, 3), "EINVAL", "8*n+8")
		refused("core/delay", b"123", "EINVAL", "a raw request has exactly 4 bytes, not 3")
		refused("core/delay", b"12345", "EINVAL", "a raw request has exactly 4 bytes, not 5")
		refused("core/echo", bytes(70000), "EMSGSIZE", "max_message_bytes (65536 bytes)")
		refused("core/echo", bytes(40000), "EMSGSIZE", "max_message_bytes")      # with its answer
		# nothing written is nothing asked, even where n = 0 has no bytes
		fd = open_call("core/echo", encoding="raw")
		assert os.read(fd, 10) == b""
		n = stats()
		assert n["rejected"] == 10 and n["processed"] == 5 == n["accepted"], n
		# no more than one free dim, else there is no such file
		for kernel in "core/matmul", "graph/pagerank", "risk/monte-carlo-var":
		    assert outcome(open_call, kernel, 0, "raw") == "ENOENT", kernel
	EOF
}

@test "encodings: O_NONBLOCK and poll on each; a full queue blocks or is EAGAIN until there is room" {
	rk_up worker_threads=1,max_queue_depth=1
	py <<-'EOF'
		both = select.POLLIN | select.POLLOUT
		def request(encoding, ms):
		    raw = struct.pack("<I", ms)
		    return {"json": to_bytes({"ms": ms}), "raw": raw, "safetensors": st_pack({"ms": ("U32", [], raw)})}[encoding]
		for encoding in "json", "safetensors", "raw":
		    fd = open_call("core/delay", os.O_NONBLOCK, encoding)
		    assert poll(fd, both, 0) == select.POLLOUT
		    write_all(fd, request(encoding, 200))
		    assert poll(fd, both, 0) == select.POLLOUT
		    assert outcome(os.read, fd, 100) == "EAGAIN" and poll(fd, both, 0) == 0
		    assert outcome(os.write, fd, b"x") == "EBUSY"
		    queued = submit("core/delay", request(encoding, 1), encoding)
		    third = open_call("core/delay", os.O_NONBLOCK, encoding)
		    write_all(third, request(encoding, 2))
		    assert outcome(os.read, third, 100) == "EAGAIN"     # full: not accepted
		    assert stats()["in_flight"] == 2 and poll(third, both, 0) == 0
		    blocks = Task(call, "core/delay", request(encoding, 3), encoding)
		    assert poll(fd, both) == select.POLLIN
		    first = os.read(fd, 1)
		    assert poll(fd, both, 0) == select.POLLIN
		    assert len(first + read_all(fd)) > 3 and poll(fd, select.POLLIN, 0) == 0
		    assert poll(third, both) == select.POLLOUT          # room
		    while (what := outcome(os.read, third, 100)) == "EAGAIN":
		        poll(third, both)
		    assert isinstance(what, bytes) and isinstance(blocks.result(), bytes) and answer_of(queued)
		    # an error is ready as an answer is
		    bad = open_call("core/delay", os.O_NONBLOCK, encoding)
		    os.write(bad, b"{")
		    assert outcome(os.read, bad, 10) == "EINVAL" and poll(bad, both, 0) == select.POLLOUT
		    until_in_flight(0)
		assert_stats(accepted=12, processed=12, rejected=3)
	EOF
}

@test "encodings: 64 MiB through echo raw and back; the memory returns" {
	rk_up worker_threads=1
	py <<-'EOF'
		import hashlib, random
		def memfds():
		    """KiB behind the daemon's memfds: the payload."""
		    total = 0
		    for fd in os.listdir(f"/proc/{DAEMON}/fd"):
		        try:
		            if os.readlink(f"/proc/{DAEMON}/fd/{fd}").startswith("/memfd:"):
		                total += os.stat(f"/proc/{DAEMON}/fd/{fd}").st_blocks // 2
		        except FileNotFoundError:
		            pass
		    return total
		def anonymous():
		    with open(f"/proc/{DAEMON}/status") as f:
		        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))
		assert call("core/echo", b"x" * 1000000, "raw") == b"x" * 1000000
		before, heap = memfds(), anonymous()
		data = random.Random(1).randbytes(64 << 20)
		# a header tells at once how large the answer will be, too
		for encoding, request, most in ("raw", data, 66), ("safetensors", st_pack({"data": ("U8", [len(data)], data)}), 130):
		    fd = open_call("core/echo", encoding=encoding)
		    write_all(fd, request)
		    assert memfds() - before < most << 10, memfds()     # one copy of the request ...
		    answer = read_all(fd)
		    assert memfds() - before < 130 << 10, memfds()      # ... and one of the answer
		    answer = answer if encoding == "raw" else st_unpack(answer)["data"][2]
		    assert hashlib.sha256(answer).digest() == hashlib.sha256(data).digest()
		    assert memfds() - before < 1 << 10, (before, memfds())      # the last read was its EOF
		    assert anonymous() - heap < 32 << 10 or "asan" in os.environ["BIN"], (heap, anonymous())
		    # half written, then closed; answered, and not read
		    write_all(fd, request[:40 << 20])
		    os.close(fd)
		    fd = open_call("core/echo", encoding=encoding)
		    write_all(fd, request)
		    assert os.read(fd, 1000)
		    os.close(fd)
		    until(lambda: memfds() - before < 1 << 10, True)
		assert_stats(processed=5, failed=0, rejected=0)
	EOF
}

@test "encodings: a large header is judged at the first read, a small one by the write that ends it" {
	rk_up max_header_bytes=64M,max_message_bytes=1M
	py <<-'EOF'
		def request(header, data=b"abc"):
		    head = b'{"data":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}'
		    return struct.pack("<Q", header) + head + b" " * (header - len(head) - 1) + b"}" + data
		for size in 65536, 65537, 1 << 20, 32 << 20:
		    assert st_unpack(call("core/echo", request(size), "safetensors"))["data"] == ("U8", [3], b"abc"), size
		for size, at in (65536, "write"), (65537, "read"), (8 << 20, "read"):
		    for change in (lambda r: r.replace(b"[3]", b"[4]")), (lambda r: r.replace(b" }", b",}")):
		        fd = open_call("core/echo", encoding="safetensors")
		        failed = None
		        try:
		            write_all(fd, change(request(size, b"")))
		        except OSError as e:
		            failed = "write", e.errno
		        try:
		            read_all(fd)
		        except OSError as e:
		            failed = failed or ("read", e.errno)
		        assert failed == (at, errno.EINVAL), (size, failed)
		        os.close(fd)
		fd = open_call("core/echo", encoding="safetensors")
		write_all(fd, request(1 << 20, b""))
		for part in b"a" * (1 << 20), b"b":
		    try:
		        write_all(fd, part)
		        assert part != b"b"
		    except OSError as e:
		        assert (part, e.errno) == (b"b", errno.EMSGSIZE), e
		os.close(fd)
		assert_stats(processed=4, failed=0, rejected=7)
	EOF
}

@test "encodings: nothing but JSON where a shape cannot be told; each shows what it takes" {
	rk_up
	cd "$MNT/kernels/core"
	assert_equal "$(echo matmul/call*)" "matmul/call.json matmul/call.safetensors"
	assert_equal "$(echo delay/call*)" "delay/call.json delay/call.raw delay/call.safetensors"
	cd /
	assert_equal "$(stat -c %a "$MNT"/kernels/core/delay/call.*)" $'600\n600\n600'
	# from the shell, as bytes
	bash -c 'exec 3<>"$1"; printf "\1\2\3" >&3; od -An -tu1 <&3' raw "$MNT/kernels/core/echo/call.raw" >"$BATS_TEST_TMPDIR/out"
	assert_equal "$(xargs <"$BATS_TEST_TMPDIR/out")" "1 2 3"
}
