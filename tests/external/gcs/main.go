// A Google Cloud Storage to test with: the storage, conditions and JSON API of
// fake-gcs-server, and in front of it the calls of the XML API that it lacks and
// that clients such as object_store use: PUT with a condition, multipart uploads,
// and lists in pages. Each PUT becomes the upload of the JSON API that means the
// same, so what is conditional is decided by fake-gcs-server.
//
// Usage: gcs HOST:PORT BUCKET..., with those who may use it in the folder GCS_ALLOWED.
package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

type front struct {
	address string
	storage *fakestorage.Server
	behind  http.Handler
	// Those of the arguments: none is made later.
	buckets map[string]bool

	mutex   sync.Mutex
	uploads map[string]map[int][]byte
	count   int
}

func main() {
	address := os.Args[1]
	storage, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener: true,
		PublicHost: address,
		Writer:     io.Discard,
	})
	if err != nil {
		log.Fatal(err)
	}
	buckets := map[string]bool{}
	for _, bucket := range os.Args[2:] {
		storage.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
		buckets[bucket] = true
	}
	server := &front{
		address: address,
		storage: storage,
		behind:  storage.HTTPHandler(),
		buckets: buckets,
		uploads: map[string]map[int][]byte{},
	}
	log.Fatal(http.ListenAndServe(address, server))
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// It looks for objects under its own name only, and there may be a proxy before it.
	r.Host = f.address
	if !mayUse(r) {
		fail(w, http.StatusUnauthorized, "AuthenticationRequired", "Authentication required.")
		return
	}
	bucket, object, isObject := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if bucket == "storage" || bucket == "upload" || strings.HasPrefix(bucket, "_") {
		f.behind.ServeHTTP(w, r)
		return
	}
	bucket, _ = url.PathUnescape(bucket)
	object, err := url.PathUnescape(object)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !f.buckets[bucket] {
		fail(w, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist.")
		return
	}
	query := r.URL.Query()
	switch {
	case !isObject || object == "":
		f.list(w, bucket, query)
	case r.Method == http.MethodPost && query.Has("uploads"):
		f.begin(w, bucket, object)
	case r.Method == http.MethodPut && query.Has("uploadId"):
		f.part(w, r, query)
	case r.Method == http.MethodPost && query.Has("uploadId"):
		f.complete(w, r, bucket, object, query.Get("uploadId"))
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		f.forget(query.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut && r.Header.Get("x-goog-copy-source") == "":
		f.put(w, r, bucket, object)
	case r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete:
		// Known to it, but for slashes that are escaped.
		r.URL.RawPath = ""
		f.behind.ServeHTTP(w, r)
	default:
		fail(w, http.StatusNotImplemented, "NotImplemented", r.Method)
	}
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/xml")
	io.WriteString(w, xml.Header)
	if err := xml.NewEncoder(w).Encode(value); err != nil {
		log.Print(err)
	}
}

type stored struct {
	Generation string `json:"generation"`
	Etag       string `json:"etag"`
}

// upload stores an object by the JSON API; condition is ifGenerationMatch or "".
func (f *front) upload(bucket, object, condition string, body []byte) (stored, int) {
	query := url.Values{"uploadType": {"multipart"}, "name": {object}}
	if condition != "" {
		query.Set("ifGenerationMatch", condition)
	}
	const boundary = "the-boundary-of-this-upload-4f1d2c"
	var text bytes.Buffer
	name, _ := json.Marshal(map[string]string{"name": object})
	fmt.Fprintf(&text, "--%s\r\nContent-Type: application/json\r\n\r\n%s\r\n", boundary, name)
	fmt.Fprintf(&text, "--%s\r\nContent-Type: application/octet-stream\r\n\r\n", boundary)
	text.Write(body)
	fmt.Fprintf(&text, "\r\n--%s--\r\n", boundary)
	target := "/upload/storage/v1/b/" + url.PathEscape(bucket) + "/o?" + query.Encode()
	request := httptest.NewRequest(http.MethodPost, target, &text)
	request.Header.Set("Content-Type", "multipart/related; boundary="+boundary)
	recorder := httptest.NewRecorder()
	f.behind.ServeHTTP(recorder, request)
	var made stored
	if recorder.Code == http.StatusOK {
		if err := json.Unmarshal(recorder.Body.Bytes(), &made); err != nil {
			return made, http.StatusInternalServerError
		}
	}
	return made, recorder.Code
}

func (f *front) put(w http.ResponseWriter, r *http.Request, bucket, object string) {
	body, err := io.ReadAll(r.Body)
	if err != nil || (r.ContentLength >= 0 && int64(len(body)) != r.ContentLength) {
		fail(w, http.StatusBadRequest, "IncompleteBody", "the body ended early")
		return
	}
	made, status := f.upload(bucket, object, r.Header.Get("x-goog-if-generation-match"), body)
	switch status {
	case http.StatusOK:
		w.Header().Set("ETag", strconv.Quote(made.Etag))
		w.Header().Set("x-goog-generation", made.Generation)
	case http.StatusPreconditionFailed:
		fail(w, status, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
	default:
		fail(w, status, "InternalError", "the upload failed")
	}
}

func (f *front) begin(w http.ResponseWriter, bucket, object string) {
	f.mutex.Lock()
	f.count++
	id := fmt.Sprintf("upload-%d", f.count)
	f.uploads[id] = map[int][]byte{}
	f.mutex.Unlock()
	answer(w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadId string
	}{Bucket: bucket, Key: object, UploadId: id})
}

func (f *front) part(w http.ResponseWriter, r *http.Request, query url.Values) {
	number, err := strconv.Atoi(query.Get("partNumber"))
	body, readError := io.ReadAll(r.Body)
	if err != nil || readError != nil {
		fail(w, http.StatusBadRequest, "InvalidArgument", "the part")
		return
	}
	f.mutex.Lock()
	parts, ok := f.uploads[query.Get("uploadId")]
	if ok {
		parts[number] = body
	}
	f.mutex.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, "NoSuchUpload", "the upload")
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("\"part-%d\"", number))
}

func (f *front) forget(id string) {
	f.mutex.Lock()
	delete(f.uploads, id)
	f.mutex.Unlock()
}

func (f *front) complete(w http.ResponseWriter, r *http.Request, bucket, object, id string) {
	io.Copy(io.Discard, r.Body)
	f.mutex.Lock()
	parts, ok := f.uploads[id]
	f.mutex.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, "NoSuchUpload", "the upload")
		return
	}
	var numbers []int
	for number := range parts {
		numbers = append(numbers, number)
	}
	sort.Ints(numbers)
	var whole []byte
	for _, number := range numbers {
		whole = append(whole, parts[number]...)
	}
	made, status := f.upload(bucket, object, "", whole)
	if status != http.StatusOK {
		fail(w, status, "InternalError", "the upload failed")
		return
	}
	f.forget(id)
	w.Header().Set("x-goog-generation", made.Generation)
	answer(w, struct {
		XMLName  xml.Name `xml:"CompleteMultipartUploadResult"`
		Location string
		Bucket   string
		Key      string
		ETag     string
	}{Bucket: bucket, Key: object, ETag: strconv.Quote(made.Etag)})
}

type entry struct {
	Key          string
	Generation   int64
	LastModified string
	ETag         string
	Size         int64
}

type prefix struct{ Prefix string }

// list answers a page. Both kinds of entries are sorted into one order, in which a
// page begins after the token: the name that the page before ended with.
func (f *front) list(w http.ResponseWriter, bucket string, query url.Values) {
	most := 1000
	if text := query.Get("max-keys"); text != "" {
		if number, err := strconv.Atoi(text); err == nil && number < most {
			most = number
		}
	}
	found, err := f.storage.ListObjectsWithOptionsPaginated(bucket, fakestorage.ListOptions{
		Prefix:    query.Get("prefix"),
		Delimiter: query.Get("delimiter"),
	})
	if err != nil {
		fail(w, http.StatusInternalServerError, "InternalError", "the list failed")
		return
	}
	after := max(query.Get("start-after"), query.Get("continuation-token"))
	result := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name                  string
		Prefix                string
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []entry
		CommonPrefixes        []prefix
	}{Name: bucket, Prefix: query.Get("prefix")}
	entries := map[string]*entry{}
	var names []string
	for _, object := range found.Objects {
		entries[object.Name] = &entry{
			Key:          object.Name,
			Generation:   object.Generation,
			LastModified: object.Updated.UTC().Format(time.RFC3339Nano),
			ETag:         strconv.Quote(object.Etag),
			Size:         object.Size,
		}
		names = append(names, object.Name)
	}
	names = append(names, found.Prefixes...)
	sort.Strings(names)
	listed := 0
	for i, name := range names {
		if name <= after {
			continue
		}
		if listed == most {
			result.IsTruncated = true
			result.NextContinuationToken = names[i-1]
			break
		}
		if object := entries[name]; object != nil {
			result.Contents = append(result.Contents, *object)
		} else {
			result.CommonPrefixes = append(result.CommonPrefixes, prefix{name})
		}
		listed++
	}
	answer(w, result)
}
