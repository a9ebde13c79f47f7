package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tiercache/tiercache/internal/valkeyurl"
)

// A service's URL means the same here.
func TestURLsAreReadAsTheLibraryReadsThem(t *testing.T) {
	taken := 0
	for _, u := range []string{
		"valkey://h", "redis://h:7000", "valkeys://h", "rediss://h:7000/2", "valkey://u:p@h:7000/3", "valkey://:p%40%2F@h", "valkey://u@h",
		"valkey://a:1,b:2,c", "valkeys://a:1,b:2", "valkey://u:p@a:1,b:2/0?master_set=m", "valkey://[::1]:7000", "valkey://[::1]", "valkey://h?addr=b:2&addr=c:3",
		"valkey://h?db=4", "valkeys://h?skip_verify=1", "valkeys://h?skip_verify", "unix:///run/valkey.sock", "unix://u:p@/run/valkey.sock?db=2", "VALKEY://h", "valkey://h/",
		"", "h", "h:6379", "http://h", "valkey:h", "valkey://", "valkey://,", "valkey://a,,b", "valkey://a:1:2", "valkey://a:x", "valkey://a:0", "valkey://a:70000",
		"valkey://h/x", "valkey://h/1/2", "valkey://h?tls=true", "valkey://h?skip_verify=1", "valkey://u:p/q@h", "valkey://u:p#q@h", "valkey://u:p?q@h", "valkey://h#f",
		"valkey://u:p@", "valkey://h ", "valkey://h\n", "valkey://%zz@h", "unix://", "unix://h/run/x", "unix:///",
	} {
		want, wantErr := valkeyurl.Parse(u)
		got, err := parseURL(u)
		assert.Equal(t, wantErr == nil, err == nil, "%q: %v, and the library says: %v", u, err, wantErr)
		if wantErr != nil || err != nil {
			continue
		}
		taken++
		assert.Equal(t, want.InitAddress, got.InitAddress, u)
		assert.Equal(t, want.Username, got.Username, u)
		assert.Equal(t, want.Password, got.Password, u)
		assert.Equal(t, want.SelectDB, got.SelectDB, u)
		assert.Equal(t, want.Sentinel.MasterSet, got.Sentinel.MasterSet, u)
		assert.Equal(t, want.TLSConfig == nil, got.TLSConfig == nil, u)
		if want.TLSConfig != nil && got.TLSConfig != nil {
			assert.Equal(t, want.TLSConfig.ServerName, got.TLSConfig.ServerName, u)
			assert.Equal(t, want.TLSConfig.InsecureSkipVerify, got.TLSConfig.InsecureSkipVerify, u)
		}
	}
	assert.Equal(t, 20, taken)
}
