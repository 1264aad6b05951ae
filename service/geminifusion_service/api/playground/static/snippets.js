// The call of what is on screen, for a terminal, for Python and over gRPC.

const quoted = (text) => (/^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const literal = (text) => JSON.stringify(text);
const FLAGS = new Set(["confidence", "gate", "disagreement", "classes"]);

const value = (name, text) => {
  if (FLAGS.has(name)) return "True";
  if (/_scale$/.test(name)) return text;
  return /_invalid$|intrinsics$|^extrinsics$/.test(name) ? `[${text}]` : literal(text);
};

/**
 * @param parts {part, file} of each image
 * @param query options as they are sent
 * @param where {origin, host, grpcPort, secure, keyed, verb}
 */
export function snippets(parts, query, where) {
  return { curl: curl(parts, query, where), Python: python(parts, query, where), gRPC: grpc(parts, query, where) };
}

function curl(parts, query, { origin, keyed, verb }) {
  const lines = ["curl -sS"];
  if (keyed) lines.push('  -H "Authorization: Bearer $GEMINIFUSION_KEY"');
  for (const { part, file } of parts) lines.push(`  -F ${quoted(`${part}=@${file.name}`)}`);
  lines.push(`  '${origin}v1/${verb}?${new URLSearchParams(query)}' -o ${verb === "segment" ? "result.json" : "result.png"}`);
  return lines.join(" \\\n");
}

function python(parts, query, { origin, keyed, verb }) {
  return client(parts, query, origin.replace(/\/$/, ""), keyed, verb);
}

function client(parts, query, address, keyed, verb) {
  const options = Object.entries(query).filter(([name]) => name !== "format").map(([name, text]) => [name, value(name, text)]);
  const images = parts.map(({ part, file }) => [part, literal(file.name)]);
  // Names of modalities may be no Python names.
  const plain = [...images, ...options].filter(([name]) => /^[a-z_]\w*$/i.test(name)).map(([name, text]) => `${name}=${text}`);
  const others = [...images, ...options].filter(([name]) => !/^[a-z_]\w*$/i.test(name)).map(([name, text]) => `${literal(name)}: ${text}`);
  const all = [...plain, ...(others.length ? [`**{${others.join(", ")}}`] : [])].map((text) => `        ${text},\n`).join("");
  const secret = keyed ? ', api_key=os.environ["GEMINIFUSION_KEY"]' : "";
  return `${keyed ? "import os\n\n" : ""}from geminifusion import Client

with Client(${literal(address)}${secret}) as client:
    result = client.${verb}(
${all}    )

print(result)
result.save("${verb === "segment" ? "mask" : "result"}.png")`;
}

function grpc(parts, query, { host, grpcPort, secure, keyed, verb }) {
  const fields = [`"images": {${parts.map(({ part, file }) => `${literal(part)}: "$(base64 -w0 ${quoted(file.name)})"`).join(", ")}}`, verb === "segment" ? '"format": "MASK_FORMAT_RLE"' : '"format": "TRANSLATION_FORMAT_PICTURE"'];
  const others = { scales: [], invalids: [] };
  for (const [name, text] of Object.entries(query)) {
    const [, modality, kind] = /^(.+)_(scale|invalid)$/.exec(name) ?? [];
    if (name === "format") continue;
    if (FLAGS.has(name)) fields.push(`"${name}": true`);
    else if (name === "align") fields.push(`"align": "ALIGN_${text.toUpperCase()}"`);
    else if (modality === "depth" || /intrinsics$|^extrinsics$/.test(name)) fields.push(`"${name}": ${kind === "scale" ? text : `[${text}]`}`);
    else if (kind === "scale") others.scales.push(`${literal(modality)}: ${text}`);
    else if (kind === "invalid") others.invalids.push(`${literal(modality)}: {"values": [${text}]}`);
    else fields.push(`"${name}": ${literal(text)}`);
  }
  for (const [name, values] of Object.entries(others)) if (values.length) fields.push(`"${name}": {${values.join(", ")}}`);
  const header = keyed ? ' -H "authorization: Bearer $GEMINIFUSION_KEY"' : "";
  const address = `${secure ? "grpcs" : "grpc"}://${host}:${grpcPort}`;
  return `grpcurl ${secure ? "" : "-plaintext "}-max-msg-sz 50000000${header} -d @ ${host}:${grpcPort} ${verb === "segment" ? "geminifusion.v1.Segmentation/Segment" : "geminifusion.v1.Translation/Translate"} <<END
{${fields.join(",\n ")}}
END
# In Python: Client("${address}") instead of the HTTP address.`;
}
