package main

func init() {
	guards = append(guards,
		guard{"no client reads what it did not ask for", "remote/valkey.go",
			"l.own(checkconn.New(conn))", "l.own(func() net.Conn { _ = checkconn.New; return conn }())", "./remote TestAServerThatHasNoConnectionToSpareEnds"},
		guard{"what is being written is not written to", "internal/wire/write.go",
			"		c.out, c.spare = c.spare[:0], nil\n		var rest", "		c.out, c.spare = b[:0], nil\n		var rest", "./internal/wire TestWhatIsBeingWritten"},
	)
}
