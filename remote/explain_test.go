package remote

import (
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
)

// A certificate may lack the name in more than one way.
func TestACertificateThatDoesNotHaveTheNameIsExplained(t *testing.T) {
	for _, c := range []*x509.Certificate{{}, {DNSNames: []string{"a"}}} {
		for _, host := range []string{"127.0.0.1", "cache.example.com"} {
			err := x509.HostnameError{Certificate: c, Host: host}
			found, ok := explained(err.Error())
			require.True(t, ok, err)
			require.Contains(t, found.says, "is for another name", err)
		}
	}
}
