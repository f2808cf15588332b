// The Go client of the tests: `client chat ADDRESS MODEL TEXT` calls the gateway, `client generate ADDRESS TOKENS IDS`
// the worker; each prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	chatv1 "stator.invalid/client/gen/stator/chat/v1"
	enginev1 "stator.invalid/client/gen/stator/engine/v1"
	inferencev1 "stator.invalid/client/gen/stator/inference/v1"
)

type answer struct {
	Text         string   `json:"text"`
	TokenIDs     []uint32 `json:"tokenIds"`
	Finish       string   `json:"finish"`
	OutputTokens uint32   `json:"outputTokens"`
	Messages     int      `json:"messages"`
	ErrorCode    string   `json:"errorCode,omitempty"`
}

func main() {
	if len(os.Args) != 5 {
		fail(errors.New("usage: client chat|generate ADDRESS MODEL|TOKENS TEXT|IDS"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connection, err := grpc.NewClient(os.Args[2], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fail(err)
	}
	defer connection.Close()

	var got answer
	if os.Args[1] == "chat" {
		got, err = chat(ctx, inferencev1.NewInferenceServiceClient(connection), os.Args[3], os.Args[4])
	} else {
		got, err = generate(ctx, enginev1.NewEngineServiceClient(connection), os.Args[3], os.Args[4])
	}
	if err != nil {
		got.ErrorCode = status.Code(err).String()
	}
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		fail(err)
	}
}

func chat(ctx context.Context, client inferencev1.InferenceServiceClient, model, text string) (answer, error) {
	var got answer
	maxTokens, temperature := uint32(16), float32(0)
	stream, err := client.Chat(ctx, &inferencev1.ChatRequest{
		Model: model,
		Messages: []*chatv1.ChatMessage{{
			Role:      "user",
			PlainText: true,
			Content:   []*chatv1.ContentPart{{Part: &chatv1.ContentPart_Text{Text: text}}},
		}},
		Options: &inferencev1.GenerationOptions{
			Sampling:       &enginev1.SamplingParams{Temperature: &temperature},
			Stop:           &enginev1.StopConditions{MaxTokens: &maxTokens},
			ReturnTokenIds: true,
		},
	})
	if err != nil {
		return got, err
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got.Messages++
		for _, delta := range message.Deltas {
			got.Text += delta.Text
			got.TokenIDs = append(got.TokenIDs, delta.TokenIds...)
			if delta.FinishReason != enginev1.FinishReason_FINISH_REASON_UNSPECIFIED {
				got.Finish = delta.FinishReason.String()
			}
		}
		if message.Usage != nil {
			got.OutputTokens = message.Usage.OutputTokens
		}
	}
}

func generate(ctx context.Context, client enginev1.EngineServiceClient, tokens, ids string) (answer, error) {
	var got answer
	wanted, err := strconv.ParseUint(tokens, 10, 32)
	if err != nil {
		return got, err
	}
	prompt, err := parseIDs(ids)
	if err != nil {
		return got, err
	}
	maxTokens, temperature := uint32(wanted), float32(0)
	stream, err := client.Generate(ctx, &enginev1.GenerateRequest{
		TokenIds: prompt,
		Sampling: &enginev1.SamplingParams{Temperature: &temperature},
		Stop:     &enginev1.StopConditions{MaxTokens: &maxTokens, IgnoreEos: true},
	})
	if err != nil {
		return got, err
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got.Messages++
		got.Text += message.Text
		got.TokenIDs = append(got.TokenIDs, message.TokenIds...)
		if message.FinishReason != enginev1.FinishReason_FINISH_REASON_UNSPECIFIED {
			got.Finish = message.FinishReason.String()
		}
		if message.Usage != nil {
			got.OutputTokens = message.Usage.OutputTokens
		}
	}
}

func parseIDs(text string) ([]uint32, error) {
	var ids []uint32
	for _, part := range strings.Split(text, ",") {
		id, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, err
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
