package tierdebug_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

// browser is a headless Chromium that a test drives over its debugging protocol, through pipes: JSON messages that end in a zero byte.
type browser struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	session string
	id      int
	said    []string // errors and warnings of pages
	fetched []string // addresses that pages asked for
}

// browsers are names under which systems have it.
var browsers = []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"}

// startBrowser needs one of the browsers, and opens a page.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	program := browsers[0]
	for _, name := range browsers {
		if _, err := exec.LookPath(name); err == nil {
			program = name
			break
		}
	}
	valkeytest.Extra(t, program)
	theirIn, ourOut, err := os.Pipe()
	require.NoError(t, err)
	ourIn, theirOut, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
		"--user-data-dir="+t.TempDir(), "--no-first-run", "--disable-background-networking", "--disable-component-update", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	require.NoError(t, cmd.Start())
	theirIn.Close()
	theirOut.Close()
	b := &browser{t: t, to: ourOut, from: bufio.NewReaderSize(ourIn, 1<<20)}
	t.Cleanup(func() {
		b.to.Close() // it ends when nothing drives it
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		ourIn.Close()
	})
	require.NoError(t, ourIn.SetReadDeadline(time.Now().Add(2*time.Minute)))
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// call calls a method, and collects what the page says meanwhile.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.id++
	message := map[string]any{"id": b.id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	out, err := json.Marshal(message)
	require.NoError(b.t, err)
	_, err = b.to.Write(append(out, 0))
	require.NoError(b.t, err)
	for {
		in, err := b.from.ReadBytes(0)
		require.NoError(b.t, err)
		var m struct {
			ID     int
			Method string
			Error  *struct{ Message string }
			Result json.RawMessage
			Params struct {
				Type             string
				Entry            struct{ Level, Text string }
				ExceptionDetails struct {
					Text      string
					Exception struct{ Description string }
				}
				Request struct{ URL string }
			}
		}
		require.NoError(b.t, json.Unmarshal(in[:len(in)-1], &m))
		switch {
		case m.ID == b.id:
			require.Nil(b.t, m.Error, "%s: %v", method, m.Error)
			if result != nil {
				require.NoError(b.t, json.Unmarshal(m.Result, result))
			}
			return
		case m.Method == "Runtime.exceptionThrown":
			b.said = append(b.said, m.Params.ExceptionDetails.Text+" "+m.Params.ExceptionDetails.Exception.Description)
		case m.Method == "Runtime.consoleAPICalled":
			b.said = append(b.said, "console."+m.Params.Type)
		case m.Method == "Log.entryAdded":
			b.said = append(b.said, m.Params.Entry.Level+": "+m.Params.Entry.Text)
		case m.Method == "Page.javascriptDialogOpening":
			b.said = append(b.said, "a dialog")
		case m.Method == "Network.requestWillBeSent":
			b.fetched = append(b.fetched, m.Params.Request.URL)
		}
	}
}

// evaluate returns the value of an expression, waiting for promises.
func (b *browser) evaluate(expression string) any {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &r)
	require.Nil(b.t, r.ExceptionDetails, "%s: %v", expression, r.ExceptionDetails)
	return r.Result.Value
}

// await waits until an expression is true.
func (b *browser) await(expression string) {
	b.t.Helper()
	ok := b.evaluate(`new Promise((done) => { const end = Date.now() + 20000; const look = () => {
		let v = false; try { v = !!(` + expression + `); } catch {}
		if (v || Date.now() > end) done(v); else setTimeout(look, 20); }; look(); })`)
	require.Equal(b.t, true, ok, "%s did not become true; the page: %v", expression, b.evaluate("document.body.innerText"))
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.await("document.readyState === 'complete' && Number(document.body.dataset.drawn) > 0")
}

// press presses a key, with the text that it types.
func (b *browser) press(key, code string, number int, text string) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number}
		if kind == "keyDown" && text != "" {
			p["text"] = text
		}
		b.call("Input.dispatchKeyEvent", p, nil)
	}
}

// appear sets the window's size and colours.
func (b *browser) appear(width, height int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// picture keeps a picture of the page in the folder TIERCACHE_PICTURES, if that is named.
func (b *browser) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("TIERCACHE_PICTURES")
	if dir == "" {
		return
	}
	var r struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &r)
	raw, err := base64.StdEncoding.DecodeString(r.Data)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), raw, 0o644))
	fmt.Println(filepath.Join(dir, name+".png"))
}
