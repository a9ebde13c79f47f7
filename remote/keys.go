package remote

import (
	"strconv"
	"time"
)

func logKey(prefix string) string  { return prefix + ":{" + prefix + "}:log" }
func channel(prefix string) string { return prefix + ":{" + prefix + "}:changes" }

// stamp formats a time by the server's clock for scripts: in ms.
func stamp(at time.Time) string { return strconv.FormatInt(max(at.UnixMilli(), 1), 10) }
