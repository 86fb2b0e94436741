// Kstatus says what a tool that waits by kstatus, as Flux and Helm do, makes of one object.
//
// It reads the object as JSON and prints its status, a tab and the reason in words:
//
//	$ kubectl get deployment web --output=json | kstatus
//	InProgress	Replicas: 0/1
//
// The exit code is 0 for any status, and 1 when there is no telling.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	result, err := judge()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
	fmt.Printf("%s\t%s\n", result.Status, result.Message)
}

func judge() (*status.Result, error) {
	// Decoded as an unstructured, a generation is an int64, as kstatus wants it; in a plain map it
	// would be a float.
	object := &unstructured.Unstructured{}
	if err := json.NewDecoder(os.Stdin).Decode(object); err != nil {
		return nil, fmt.Errorf("standard input is not one Kubernetes object: %w", err)
	}
	return status.Compute(object)
}
