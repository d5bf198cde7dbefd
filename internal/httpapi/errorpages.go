package httpapi

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"

	"golang.org/x/text/language"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
)

// errorRow is one row of the table, explained in one language.
type errorRow struct {
	ErrorCode  string `json:"error_code"`
	HTTPStatus int    `json:"http_status"`
	ErrorMsg   string `json:"error_msg"`
	Error      string `json:"error"`
	Cause      string `json:"cause"`
	Fix        string `json:"fix"`
}

//go:embed errorpages.html
var errorPagesHTML string

var errorPagesTemplate = template.Must(template.New("errors").Parse(errorPagesHTML))

// errorPages handles GET /errors and GET /errors/APIG.2208: every row of the table, or
// those of one code; HTML for a browser, else JSON; in English, or in Chinese if
// Accept-Language or ?lang=zh requests it. Its error is APIG.0101.
func errorPages(x *answer.Exchange) error {
	code := x.Param("code")
	rows := apierr.ByCode(code)
	if code == "" {
		rows = slices.Collect(apierr.All())
	}
	if len(rows) == 0 {
		return apierr.New(apierr.APINotFound, "There is no such error code. All of them are listed at /errors.")
	}
	lang, tag := readerLanguage(x)
	page := struct {
		Lang, Code string
		Chinese    bool
		Rows       []errorRow
	}{Lang: tag, Code: code, Chinese: lang == apierr.Chinese}
	for _, r := range rows {
		page.Rows = append(page.Rows, errorRow{
			ErrorCode: r.Code(), HTTPStatus: r.Status(), ErrorMsg: r.Message(), Error: r.OAuthName(),
			Cause: r.Cause(lang), Fix: r.Fix(lang),
		})
	}
	h := x.Header()
	h.Set("Content-Language", tag)
	h.Set("Vary", "Accept, Accept-Language")
	if x.Negotiate("application/json", "text/html") != "text/html" {
		return x.PublicJSON(page.Rows)
	}
	var html bytes.Buffer
	if err := errorPagesTemplate.Execute(&html, page); err != nil {
		return fmt.Errorf("rendering the error pages: %w", err)
	}
	h.Set("Cache-Control", answer.PublicCache)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = x.Writer().Write(html.Bytes()) // fails only if the reader has disconnected
	return nil
}

var languages = language.NewMatcher([]language.Tag{language.English, language.Chinese})

// readerLanguage returns the language that the reader prefers and its tag. ?lang= takes
// precedence over Accept-Language.
func readerLanguage(x *answer.Exchange) (apierr.Lang, string) {
	if _, i := language.MatchStrings(languages, x.Query("lang"), x.Request().Header.Get("Accept-Language")); i == 1 {
		return apierr.Chinese, "zh"
	}
	return apierr.English, "en"
}
