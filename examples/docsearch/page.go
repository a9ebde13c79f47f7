package main

import (
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page shows a form, and the answer if a question was asked.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	data := struct {
		Questions []Question
		Replicas  []*Replica
		Asked     string
		Replica   string
		Read      *Read
		Error     string
	}{Questions: questions, Replicas: h.replicas, Asked: r.FormValue("q"), Replica: r.FormValue("replica")}
	if data.Asked != "" {
		read, err := h.read(w, r)
		if data.Read = &read; err != nil {
			data.Error = message(err)
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := pageTemplate.Execute(w, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
