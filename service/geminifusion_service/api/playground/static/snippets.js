// The call of what is on screen, for a terminal, for Python and over gRPC.

const quoted = (text) => (/^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const literal = (text) => JSON.stringify(text);
const FLAGS = new Set(["confidence", "gate", "disagreement", "classes"]);

// By verb: the method, and the format that is asked for; without one, each file is a field of its own.
const METHODS = { segment: ["Segmentation/Segment", "MASK_FORMAT_RLE"], translate: ["Translation/Translate", "TRANSLATION_FORMAT_PICTURE"], detect: ["Detection/Detect"] };

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
  lines.push(`  '${origin}v1/${verb}?${new URLSearchParams(query)}' -o result.${verb === "translate" ? "png" : "json"}`);
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
  const files = parts.map(({ part, file }) => `${literal(part)}: "$(base64 -w0 ${quoted(file.name)})"`);
  const [method, format] = METHODS[verb];
  const fields = format ? [`"images": {${files.join(", ")}}`, `"format": ${literal(format)}`] : files;
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
  return `grpcurl ${secure ? "" : "-plaintext "}-max-msg-sz 50000000${header} -d @ ${host}:${grpcPort} geminifusion.v1.${method} <<END
{${fields.join(",\n ")}}
END
# In Python: Client("${address}") instead of the HTTP address.`;
}
