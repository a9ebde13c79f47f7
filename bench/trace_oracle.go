package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// oracleRecord is the size of a record of libCacheSim's oracleGeneral: time in s (32 bits), object (64), its size in bytes
// (32), and at which request it is asked for next (64; -1: never), all little-endian.
const oracleRecord = 24

// isOracleGeneral looks at the first records: time does not go back, and the next request comes later.
func isOracleGeneral(head []byte) bool {
	var last uint32
	n := 0
	for ; len(head) >= oracleRecord && n < 1000; n++ {
		at, size := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[12:])
		next := int64(binary.LittleEndian.Uint64(head[16:]))
		if at < last || size > 1<<31 || next < -2 || next > 1<<44 {
			return false
		}
		last = at
		head = head[oracleRecord:]
	}
	// Short texts have no such numbers: their bytes are above those of a space.
	return n > 0 && (n >= 1000 || len(head) == 0 || n > 10)
}

func readOracleGeneral(t *Trace, r *bufio.Reader, limits Limits) error {
	var record [oracleRecord]byte
	for number := 1; ; number++ {
		_, err := io.ReadFull(r, record[:])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			t.bad(number, errors.New("the record is cut"))
			return nil
		case err != nil:
			return fmt.Errorf("after record %d: %w", number-1, err)
		}
		if len(t.Requests) == limits.Requests {
			t.Cut = true
			return nil
		}
		at := t.clock.at(float64(binary.LittleEndian.Uint32(record[:])))
		t.readOf(KeyOf(record[4:12]), int64(binary.LittleEndian.Uint32(record[12:])), at, 0)
	}
}
