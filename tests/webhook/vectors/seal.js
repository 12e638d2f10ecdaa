// Seals with crypto-js, as the vendor's own sample code does: a list of cases as JSON in, the same with
// `dataEncrypt` and `signature` out. Needs `npm install crypto-js` where it is run.
const CryptoJS = require("crypto-js");

function tailFor(length, block) {
  // PKCS#7 for blocks of 24 or 32, and eight more where the cipher's blocks of 16 would not come out even.
  const tail = block - (length % block);
  return (length + tail) % 16 === 0 ? tail : tail + 8;
}

function sealed(one) {
  const key = CryptoJS.enc.Utf8.parse(one.client_secret);
  const iv = CryptoJS.enc.Hex.parse(Buffer.from(one.client_id).toString("hex").padEnd(32, "0").slice(0, 32));
  if (one.block === 16) {
    return CryptoJS.AES.encrypt(one.plaintext, key, { iv, mode: CryptoJS.mode.CBC }).toString();
  }
  const plain = Buffer.from(one.plaintext);
  const tail = tailFor(plain.length, one.block);
  const whole = CryptoJS.enc.Hex.parse(Buffer.concat([plain, Buffer.alloc(tail, tail)]).toString("hex"));
  const options = { iv, mode: CryptoJS.mode.CBC, padding: CryptoJS.pad.NoPadding };
  return CryptoJS.AES.encrypt(whole, key, options).toString();
}

const cases = JSON.parse(require("fs").readFileSync(0, "utf-8"));
for (const one of cases) {
  one.dataEncrypt = sealed(one);
  const parts = [one.client_id, String(one.timestamp), one.nonce, one.dataEncrypt];
  one.signature = CryptoJS.SHA1(parts.sort().join("")).toString();
}
process.stdout.write(JSON.stringify(cases));
