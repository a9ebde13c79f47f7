package tierdebug_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
)

// contrasts computes, in the page, the lowest contrast of text to what is behind it, and where.
const contrasts = `(() => {
	const parse = (c) => c.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
	let worst = [99, ''];
	for (const e of document.querySelectorAll('main *, header *')) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.closest('svg') || !e.offsetParent) continue;
		const a = luminance(parse(getComputedStyle(e).color)), b = luminance(behind(e));
		const c = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (c < worst[0]) worst = [c, e.tagName + ' ' + e.textContent.slice(0, 40)];
	}
	return worst[0] >= 4.5 ? '' : worst.join(' ');
})()`

// TestInChromiumThePage is looked at, steered by keyboard, and fed with hostile names.
func TestInChromiumThePage(t *testing.T) {
	s := open(t, tier.WithLocalBytes(1<<20), tier.WithReport())
	base := serve(t, s, tierdebug.WithActions())
	b := startBrowser(t) // and ended before the server is
	technical, legal := view(t, s, "docs:technical"), view(t, s, "docs:legal")
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.3, 2, 300)
	read := func() {
		for range 2000 {
			get(t, technical, fmt.Sprint("question-", zipf.Uint64()))
		}
		for range 300 {
			get(t, legal, fmt.Sprint("clause-", zipf.Uint64()))
		}
	}
	read()
	b.appear(1280, 1700, "light")
	b.open(base)
	_, err := s.InvalidateSource(t.Context(), "doc-42")
	require.NoError(t, err)
	for i := range 3 { // points of the picture
		read()
		_, err = s.InvalidateNamespace(t.Context(), []string{"docs:technical", "docs:legal", "docs:archive"}[i])
		require.NoError(t, err)
		b.await(fmt.Sprintf("Number(document.body.dataset.drawn) > %d && document.querySelectorAll('#rates path').length >= 2", i+1))
	}
	b.await(`[...document.querySelectorAll('#changes tr')].some((r) => r.textContent.includes('doc-42'))`)
	require.Contains(t, b.evaluate(`document.querySelector('#health').textContent`), "Everything works.")
	require.Equal(t, "question-0", b.evaluate(`document.querySelector('#hottest tr button').textContent`))
	require.Equal(t, "", b.evaluate(contrasts))
	b.picture("light")

	// By keyboard alone: the link to the figures, and then on to the hottest key, which is explained.
	b.press("Tab", "Tab", 9, "")
	require.Equal(t, "Skip to the figures", b.evaluate("document.activeElement.textContent"))
	b.press("Enter", "Enter", 13, "\r")
	require.Equal(t, "main", b.evaluate("document.activeElement.id"))
	for range 20 {
		b.press("Tab", "Tab", 9, "")
		require.NotEqual(t, "none", b.evaluate("getComputedStyle(document.activeElement).outlineStyle"), "the focus is seen")
		if b.evaluate("document.activeElement.closest('#hottest') !== null") == true {
			break
		}
	}
	require.Equal(t, "question-0", b.evaluate("document.activeElement.textContent"))
	b.await(fmt.Sprintf("Number(document.body.dataset.drawn) > %v && document.activeElement.closest('#hottest')", b.evaluate("document.body.dataset.drawn")))
	b.press("Enter", "Enter", 13, "\r")
	b.await(`document.querySelector('#explanation').textContent.includes('doc-1')`)
	require.Contains(t, b.evaluate(`document.querySelector('#explanation').innerText`), "believed")
	require.Equal(t, "question-0", b.evaluate("document.activeElement.value"))

	// Invalidating, by the page's own form.
	b.evaluate(`(() => { const f = document.getElementById('act').elements; f.name.value = 'doc-1'; document.getElementById('act').requestSubmit(); })()`)
	b.await(`document.querySelector('#done').textContent.includes('invalidated the source doc-1')`)
	b.await(`[...document.querySelectorAll('#changes tr')].some((r) => r.textContent.includes('doc-1'))`)
	b.press("Tab", "Tab", 9, "")
	b.press("Enter", "Enter", 13, "\r") // Explain
	b.await(`document.querySelector('#explanation').textContent.includes('source "doc-1" changed')`)

	// Pausing.
	b.evaluate(`document.getElementById('pause').click()`)
	require.Equal(t, "true", b.evaluate(`document.getElementById('pause').getAttribute('aria-pressed')`))
	b.evaluate(`document.getElementById('pause').click()`)

	b.await(`document.querySelector('#fleet').textContent.includes('embedded')`)

	// Dark, and on a phone, nothing is cut off.
	b.appear(1280, 1700, "dark")
	require.Equal(t, "", b.evaluate(contrasts))
	b.picture("dark")
	b.appear(390, 844, "light")
	require.Equal(t, "", b.evaluate(`[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 391 && !e.closest('.scroll') && !e.closest('.skip')).map((e) => e.tagName + ' ' + e.textContent.slice(0, 40)).join()`))
	b.picture("phone")
	require.Equal(t, "", b.evaluate(`[...document.querySelectorAll('input, select, button, meter')].filter((e) => e.offsetParent && !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute('aria-label')).map((e) => e.outerHTML).join()`), "each control has a name")
	require.Empty(t, b.said, "errors of the page")

	// Names from anyone.
	b.appear(1280, 1700, "light")
	c := view(t, s, "docs:hostile")
	defer func() { runtime.KeepAlive(technical); runtime.KeepAlive(c) }() // of a cache that is not in use any more the page cannot tell
	for _, name := range hostile {
		for range 3000 {
			get(t, c, name)
		}
		_, err := s.InvalidateSource(t.Context(), name)
		require.NoError(t, err)
	}
	b.await(`[...document.querySelectorAll('#changes tr')].some((r) => r.textContent.includes('plain'))`)
	b.await(`[...document.querySelectorAll('#hottest button')].some((r) => r.textContent.includes('<script>document.title'))`)
	require.Equal(t, "tiercache", b.evaluate("document.title"))
	require.EqualValues(t, 0, b.evaluate("document.querySelectorAll('main script, main img, main iframe, main h1').length"))
	b.evaluate(`[...document.querySelectorAll('#hottest button')].find((r) => r.textContent.includes('202e')).click()`)
	b.await(`document.querySelector('#explanation').textContent.includes('a value')`)
	require.Empty(t, b.said)
	for _, url := range b.fetched {
		require.True(t, strings.HasPrefix(url, base) || url == "about:blank", "it asked for %s", url)
	}
}
