// Package schemas is the contract between the two halves of hooklog: what an
// event is, how it looks as a Kafka record, and where in a request its ID,
// type and time are found.
//
// It promises that Encode and Decode are inverse for every event (but for
// where the log put it), that a record's value is the body byte for byte, and
// that an EventKey is the same on every machine and in every version. It knows nothing of HTTP servers,
// brokers or disks.
//
// The record format is CloudEvents 1.0 in the Kafka protocol binding's binary
// mode (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md).
// One prefix per author: "ce_" is CloudEvents, "http_" the sender's headers
// verbatim, "hooklog_" ours.
package schemas
