// The arithmetic of ScoringKernel in C, without its generality: what the Swift code is measured against.
#include "PlacementReference.h"

struct holder {
  int32_t cluster;
  float eta;
  uint64_t held;
};

struct source {
  int32_t cluster;
  float bytes, eta;
  uint64_t sent;
};

static inline float larger(float a, float b) { return a > b ? a : b; }

int32_t pr_decide(const struct pr_clusters *c, int32_t inputs, int32_t replicas, const float *sizes,
                  const struct pr_replica *rows, float runtime, float tail, float lambda, float *scores,
                  int32_t *scratch) {
  struct holder holders[64 * 16];
  struct source sources[64];
  int32_t holder_count = 0, source_count = 0;
  if (inputs > 64 || replicas > 16) return -1;
  for (int32_t i = 0; i < inputs; i++) {
    int32_t source = -1, used_source = -1;
    float soonest = __builtin_inff(), source_eta = 0;
    for (int32_t r = 0; r < replicas; r++) {
      struct pr_replica replica = rows[i * replicas + r];
      int32_t h = scratch[replica.cluster];
      if (h < 0) {
        h = scratch[replica.cluster] = holder_count++;
        holders[h] = (struct holder){replica.cluster, 0, 0};
      }
      holders[h].held |= UINT64_C(1) << i;
      holders[h].eta = larger(holders[h].eta, replica.eta);
      int32_t used = -1;
      for (int32_t s = 0; s < source_count; s++)
        if (sources[s].cluster == replica.cluster) used = s;
      float bytes = sizes[i] + (used < 0 ? 0 : sources[used].bytes);
      float end = larger(c->backlog_out[replica.cluster], replica.eta) +
                  bytes * c->seconds_per_byte_out[replica.cluster];
      if (end < soonest) {
        source = replica.cluster;
        used_source = used;
        soonest = end;
        source_eta = replica.eta;
      }
    }
    if (used_source < 0) {
      used_source = source_count++;
      sources[used_source] = (struct source){source, 0, 0, 0};
    }
    sources[used_source].bytes += sizes[i];
    sources[used_source].eta = larger(sources[used_source].eta, source_eta);
    sources[used_source].sent |= UINT64_C(1) << i;
  }
  float missing = 0, egress = 0, sent = 0;
  for (int32_t s = 0; s < source_count; s++) {
    int32_t at = sources[s].cluster;
    missing += sources[s].bytes;
    egress += sources[s].bytes * c->egress_per_byte[at];
    sent = larger(sent, larger(c->backlog_out[at], sources[s].eta) + sources[s].bytes * c->seconds_per_byte_out[at]);
  }
  for (int32_t k = 0; k < c->count; k++) {
    float start = larger(larger(c->wait[k], sent), c->backlog_in[k] + missing * c->seconds_per_byte_in[k]);
    float run = runtime * c->slowness[k];
    scores[k] = start + run + tail + lambda * (run * c->price_per_second[k] + (egress + missing * c->price_per_byte_in[k]));
  }
  for (int32_t h = 0; h < holder_count; h++) {
    int32_t k = holders[h].cluster;
    float lacks = 0, pays = 0, stage = holders[h].eta, last = 0;
    for (int32_t s = 0; s < source_count; s++) {
      float bytes = 0;
      for (uint64_t bits = sources[s].sent & ~holders[h].held; bits; bits &= bits - 1)
        bytes += sizes[__builtin_ctzll(bits)];
      if (bytes == 0) continue;
      int32_t at = sources[s].cluster;
      lacks += bytes;
      pays += bytes * c->egress_per_byte[at];
      last = larger(last, larger(c->backlog_out[at], sources[s].eta) + bytes * c->seconds_per_byte_out[at]);
    }
    if (lacks > 0) stage = larger(larger(stage, last), c->backlog_in[k] + lacks * c->seconds_per_byte_in[k]);
    float run = runtime * c->slowness[k];
    scores[k] = larger(stage, c->wait[k]) + run + tail + lambda * (run * c->price_per_second[k] + lacks * c->price_per_byte_in[k] + pays);
    scratch[k] = -1;
  }
  int32_t best = 0;
  for (int32_t k = 1; k < c->count; k++)
    if (scores[k] < scores[best]) best = k;
  return best;
}
