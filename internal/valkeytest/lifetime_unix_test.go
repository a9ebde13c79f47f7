//go:build unix

package valkeytest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// In the child processes that this test starts, this variable names what to do instead of running the tests.
const roleVar = "TIERCACHE_VALKEYTEST_ROLE"

func init() {
	if role := os.Getenv(roleVar); role != "" {
		playRole(role)
	}
}

// A child process starts a server, says so, and then dies in each of these ways: the server must end with it.
func TestServerDoesNotOutliveTheTestBinary(t *testing.T) {
	binary := need(t)
	for _, role := range []string{"panic", "exit", "hang", "hang watched"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), roleVar+"="+role, "VALKEY_SERVER="+binary)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var addr, dir string
			if _, err := fmt.Fscanln(out, &addr, &dir); err != nil {
				t.Error(err)
			}
			defer os.RemoveAll(dir)
			if strings.HasPrefix(role, "hang") {
				cmd.Process.Kill()
			}
			cmd.Wait()
			poll := time.NewTicker(pollInterval)
			defer poll.Stop()
			for deadline := time.Now().Add(readyTimeout); ; <-poll.C {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					break // refused: the server has ended
				}
				c.Close()
				if time.Now().After(deadline) {
					t.Fatalf("the server on %s outlived the process that started it", addr)
				}
			}
		})
	}
}

// playRole is what the child processes of TestServerDoesNotOutliveTheTestBinary do.
func playRole(role string) {
	if strings.HasSuffix(role, "watched") {
		startBound = startWatched // what Unixes other than Linux do
	}
	s := &Server{binary: os.Getenv("VALKEY_SERVER")}
	if err := s.create(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Addr, s.dir)
	switch role {
	case "panic":
		go panic("as asked")
		select {}
	case "exit":
		os.Exit(0)
	default:
		select {} // until killed
	}
}
