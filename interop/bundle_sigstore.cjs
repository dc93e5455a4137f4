// Has npm's @sigstore/verify check a bundle of ours together with the proof of our log.
//
// in:  a folder made by `cargo run -p seaworthy-store --example log_fixture DIR N` (bundle.sigstore.json, key.pem, vkey),
//      as the first argument; the peer in a folder of its own: `npm i @sigstore/verify@4.1.3` (3.1.1 expects another digest),
//      run from there or with NODE_PATH set to its node_modules.
// out: one line a check, exit code 0 if all hold. The control of each refusal is the first check, which accepts.
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const at = { paths: [process.cwd(), ...(process.env.NODE_PATH || "").split(path.delimiter).filter(Boolean)] };
const load = (name) => require(require.resolve(name, at));
const { Verifier, toSignedEntity, toTrustMaterial } = load("@sigstore/verify");
const { bundleFromJSON } = load("@sigstore/bundle");
const { TrustedRoot } = load("@sigstore/protobuf-specs");

const dir = process.argv[2];
const text = fs.readFileSync(path.join(dir, "bundle.sigstore.json"), "utf8");
const pem = fs.readFileSync(path.join(dir, "key.pem"), "utf8");
const [name, , key] = fs.readFileSync(path.join(dir, "vkey"), "utf8").trim().split(/\+(.*?)\+(.*)/s);
const typed = Buffer.from(key, "base64");

function verify(json, raw = typed.subarray(1)) {
  const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]);
  const keyId = crypto.createHash("sha256").update(name + "\n").update(Buffer.from([1])).update(raw).digest("base64");
  const root = TrustedRoot.fromJSON({
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [{
      baseUrl: "https://" + name, hashAlgorithm: "SHA2_256", logId: { keyId },
      publicKey: { rawBytes: spki.toString("base64"), keyDetails: "PKIX_ED25519", validFor: { start: "1970-01-01T00:00:00Z" } },
    }],
    certificateAuthorities: [], ctlogs: [], timestampAuthorities: [],
  });
  const hint = crypto.createHash("sha256").update(pem).digest("hex");
  const find = (wanted) => {
    if (wanted !== hint) throw new Error("key not found");
    return { publicKey: crypto.createPublicKey(pem), validFor: () => true };
  };
  const verifier = new Verifier(toTrustMaterial(root, find), { tlogThreshold: 1, timestampThreshold: 0, ctlogThreshold: 0 });
  verifier.verify(toSignedEntity(bundleFromJSON(json)));
}

let failed = 0;
function check(what, wanted, action) {
  let outcome = "accepted";
  try { action(); } catch (error) { outcome = "refused (" + String(error.message).slice(0, 70) + ")"; }
  const ok = outcome.startsWith(wanted);
  failed += ok ? 0 : 1;
  console.log((ok ? "ok   " : "FAIL ") + what + ": " + outcome);
}
function changed(change) {
  const json = JSON.parse(text);
  change(json, json.verificationMaterial.tlogEntries[0]);
  return json;
}
const flip = (base64) => { const b = Buffer.from(base64, "base64"); b[b.length - 1] ^= 1; return b.toString("base64"); };

check("bundle with our log's proof", "accepted", () => verify(JSON.parse(text)));
check("another hash in the proof", "refused", () => verify(changed((_, e) => { e.inclusionProof.hashes[0] = flip(e.inclusionProof.hashes[0]); })));
check("a hash missing", "refused", () => verify(changed((_, e) => { e.inclusionProof.hashes.pop(); })));
check("no log entry", "refused", () => verify(changed((j) => { j.verificationMaterial.tlogEntries = []; })));
check("another leaf", "refused", () => verify(changed((_, e) => {
  const body = JSON.parse(Buffer.from(e.canonicalizedBody, "base64"));
  body.spec.hashedRekordV002.data.digest = flip(body.spec.hashedRekordV002.data.digest);
  e.canonicalizedBody = Buffer.from(JSON.stringify(body)).toString("base64");
})));
check("another checkpoint", "refused", () => verify(changed((_, e) => { e.inclusionProof.checkpoint.envelope = e.inclusionProof.checkpoint.envelope.replace(/\n\d+\n/, "\n999\n"); })));
check("another statement", "refused", () => verify(changed((j) => { j.dsseEnvelope.payload = Buffer.from(Buffer.from(j.dsseEnvelope.payload, "base64").toString().replace("file-", "fire-")).toString("base64"); })));
check("another signature", "refused", () => verify(changed((j) => { j.dsseEnvelope.signatures[0].sig = flip(j.dsseEnvelope.signatures[0].sig); })));
check("another log key", "refused", () => verify(JSON.parse(text), crypto.generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "der" }).subarray(12)));
process.exit(failed ? 1 : 0);
