// Has Sigstore's own verifier check our bundles with our log's proofs, and refuse them once changed.
//
// in:  FIXTURE, a folder as `cargo run -p seaworthy-trust --example fixture DIR` (or `seaworthy attest export`) writes it:
//      bundles/*.json with log proofs, keys/*.pem, trusted_root.json
// out: one line a check, exit code 0 if all hold, 1 otherwise.
//
// Peer, in a folder of its own (Apache-2.0; pin it: 3.1.1 hashes the payload where 4.x hashes the PAE):
//      npm init -y && npm install @sigstore/verify@4.1.3 @sigstore/bundle@5.0.1 @sigstore/protobuf-specs@0.5.2
//      NODE_PATH is not read by ES modules: run as `node sigstore.mjs FIXTURE NPM_FOLDER`

import { createHash, createPublicKey } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [fixture, npm] = process.argv.slice(2);
if (!fixture || !npm) {
  console.error("usage: node sigstore.mjs FIXTURE NPM_FOLDER");
  process.exit(2);
}
const load = createRequire(resolve(npm, "package.json"));
const { bundleFromJSON } = load("@sigstore/bundle");
const { TrustedRoot } = load("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = load("@sigstore/verify");

let failed = 0;
function check(name, ok, detail = "") {
  if (!ok) failed += 1;
  console.log(`${ok ? "ok  " : "FAIL"} ${name}${!ok && detail ? ": " + detail : ""}`);
}

const root = TrustedRoot.fromJSON(JSON.parse(readFileSync(join(fixture, "trusted_root.json"), "utf8")));
const keys = new Map();
for (const file of readdirSync(join(fixture, "keys"))) {
  const pem = readFileSync(join(fixture, "keys", file), "utf8");
  keys.set(createHash("sha256").update(pem).digest("hex"), pem);
}
function finder(hint) {
  const pem = keys.get(hint);
  if (!pem) throw new Error(`key not found: ${hint}`);
  return { publicKey: createPublicKey(pem), validFor: () => true };
}
// one log entry demanded; keys need neither certificates nor timestamps
const verifier = new Verifier(toTrustMaterial(root, finder), { ctlogThreshold: 0, tlogThreshold: 1, timestampThreshold: 0 });

function verify(json) {
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(json)));
    return "";
  } catch (error) {
    return String(error.message || error);
  }
}

const names = readdirSync(join(fixture, "bundles")).sort();
check("there are bundles", names.length > 0);
const read = (name) => JSON.parse(readFileSync(join(fixture, "bundles", name), "utf8"));
for (const name of names) {
  const answer = verify(read(name));
  check(`@sigstore/verify accepts ${name}`, answer === "", answer);
}

const flip = (base64) => {
  const bytes = Buffer.from(base64, "base64");
  bytes[bytes.length >> 1] ^= 1;
  return bytes.toString("base64");
};
const entry = (json) => json.verificationMaterial.tlogEntries[0];
const [first, second] = names;
const mutations = {
  "a hash of the proof": (json) => (entry(json).inclusionProof.hashes[0] = flip(entry(json).inclusionProof.hashes[0])),
  "no log entry": (json) => (json.verificationMaterial.tlogEntries = []),
  "the log entry of another bundle": (json) => (json.verificationMaterial.tlogEntries = read(second).verificationMaterial.tlogEntries),
  "the body of another bundle": (json) => (entry(json).canonicalizedBody = entry(read(second)).canonicalizedBody),
  "a byte of the payload": (json) => (json.dsseEnvelope.payload = flip(json.dsseEnvelope.payload)),
  "a byte of the signature": (json) => (json.dsseEnvelope.signatures[0].sig = flip(json.dsseEnvelope.signatures[0].sig)),
  "a root that nobody signed": (json) =>
    (entry(json).inclusionProof.checkpoint.envelope = entry(json).inclusionProof.checkpoint.envelope.replace(/\n\d+\n/, "\n99\n")),
};
for (const [name, mutate] of Object.entries(mutations)) {
  const json = read(first);
  mutate(json);
  const answer = verify(json);
  check(`@sigstore/verify refuses ${name}`, answer !== "", "it was accepted");
}
process.exit(failed === 0 ? 0 : 1);
