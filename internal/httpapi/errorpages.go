package httpapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"sync"

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

// errorPage is one page of the table, ready to be sent.
type errorPage struct{ asHTML, asJSON []byte }

// errorPagesByLang holds the pages, by language and by code, with "" for the whole table.
// They are rendered once for the process.
var errorPagesByLang = sync.OnceValues(func() (map[apierr.Lang]map[string]errorPage, error) {
	rows := map[string][]apierr.Row{}
	for r := range apierr.All() {
		rows[""] = append(rows[""], r)
		rows[r.Code()] = append(rows[r.Code()], r)
	}
	pages := map[apierr.Lang]map[string]errorPage{apierr.English: {}, apierr.Chinese: {}}
	for lang := range pages {
		for code, rows := range rows {
			page, err := newErrorPage(lang, code, rows)
			if err != nil {
				return nil, fmt.Errorf("rendering the error pages: %w", err)
			}
			pages[lang][code] = page
		}
	}
	return pages, nil
})

func newErrorPage(lang apierr.Lang, code string, rows []apierr.Row) (errorPage, error) {
	page := struct {
		Lang, Code string
		Chinese    bool
		Rows       []errorRow
	}{Lang: languageTag(lang), Code: code, Chinese: lang == apierr.Chinese}
	for _, r := range rows {
		page.Rows = append(page.Rows, errorRow{
			ErrorCode: r.Code(), HTTPStatus: r.Status(), ErrorMsg: r.Message(), Error: r.OAuthName(),
			Cause: r.Cause(lang), Fix: r.Fix(lang),
		})
	}
	var html bytes.Buffer
	if err := errorPagesTemplate.Execute(&html, page); err != nil {
		return errorPage{}, err
	}
	asJSON, err := json.Marshal(page.Rows)
	return errorPage{html.Bytes(), asJSON}, err
}

// errorPages handles GET /errors and GET /errors/APIG.2208: every row of the table, or
// those of one code; HTML for a browser, else JSON; in English, or in Chinese if
// Accept-Language or ?lang=zh requests it. Its error is APIG.0101.
func errorPages(x *answer.Exchange) error {
	code := x.Param("code")
	if code != "" {
		rows := apierr.ByCode(code)
		if len(rows) == 0 {
			return apierr.New(apierr.APINotFound, "There is no such error code. All of them are listed at /errors.")
		}
		code = rows[0].Code()
	}
	pages, err := errorPagesByLang()
	if err != nil {
		return err
	}
	lang := readerLanguage(x)
	h := x.Header()
	h.Set("Content-Language", languageTag(lang))
	h.Set("Vary", "Accept, Accept-Language")
	if x.Negotiate("application/json", "text/html") != "text/html" {
		x.Public("application/json", pages[lang][code].asJSON)
		return nil
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	x.Public("text/html; charset=utf-8", pages[lang][code].asHTML)
	return nil
}

var languages = language.NewMatcher([]language.Tag{language.English, language.Chinese})

// readerLanguage returns the language that the reader prefers. ?lang= takes precedence
// over Accept-Language.
func readerLanguage(x *answer.Exchange) apierr.Lang {
	if _, i := language.MatchStrings(languages, firstLanguages(x.Query("lang")), firstLanguages(x.Request().Header.Get("Accept-Language"))); i == 1 {
		return apierr.Chinese
	}
	return apierr.English
}

// firstLanguages returns the beginning of a list of languages: more than any browser
// sends, and little to parse.
func firstLanguages(list string) string {
	const enough = 128
	if len(list) <= enough {
		return list
	}
	list = list[:enough]
	return list[:max(0, strings.LastIndexByte(list, ','))]
}

// languageTag returns the tag of a language (BCP 47).
func languageTag(lang apierr.Lang) string {
	if lang == apierr.Chinese {
		return "zh"
	}
	return "en"
}
