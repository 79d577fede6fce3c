/** The reference page of the configuration, docs/configuration.md, written from the fields themselves. */
import { stringify } from 'yaml'
import { type Described, describe } from './fields.ts'
import { schema } from './schema.ts'

export function renderReference(): string {
  const sections = Map.groupBy(describe(schema(path => path)), ({ key }) => /^\w+/.exec(key)?.[0] ?? key)
  return `${[preface, ...[...sections].map(([name, rows]) => section(name, rows))].join('\n\n')}\n`
}

const preface = `# Configuration

<!-- Written by scripts/reference.ts from proxy/config/schema.ts; change it there. -->

One file of YAML. \`conf/starlane.yaml\` shows every option with its default, \`conf/examples/\` whole files for common cases;
\`starlane validate -c FILE\` lists everything that is wrong with a file, each with its line.

- Only \`cluster\` and \`clusters\` must be given. Unknown keys, duplicate keys and values of the wrong kind are errors.
- A *duration* carries its unit: \`500ms\`, \`5s\`, \`10m\`, \`1h30m\`. A *percent* carries its sign: \`50%\`.
  A *size* is \`64KiB\`, \`16MiB\` or \`1GiB\`.
- A *path* is relative to the file that names it; \`~/\` is the home directory.
- A list of one may be written as the one alone.
- An *alternative* takes the place of the others beside it.
- \`\${NAME}\` in a value is the environment variable of that name, \`\${NAME:-default}\` has a default for when it is unset or
  empty, and \`$\${\` is a plain \`\${\`. It is put in after the YAML is read, so whatever it holds stays one value. Inside
  \`{ }\` and \`[ ]\` put quotes around it.
- \`&name\` and \`*name\` repeat a value, as in any YAML.`

function section(name: string, rows: readonly Described[]): string {
  const [own, ...inner] = rows
  const value = inner.length === 0 ? ` A ${own?.type}.` : ''
  const heading = `## ${name}\n\n${own?.help}${value}${own?.fallback ? ` ${sentence(own.fallback)}` : ''}`
  return inner.length === 0 ? heading : `${heading}\n\n${table(inner)}`
}

function sentence(fallback: string): string {
  return fallback === 'required' ? 'Must be given.' : `Default: ${standard(fallback)}.`
}

function table(rows: readonly Described[]): string {
  const lines = rows.map(
    ({ key, type, fallback, help }) => `| \`${key}\` | ${cell(type)} | ${standard(fallback)} | ${cell(help)} |`,
  )
  return ['| key | value | default | what it is |', '|---|---|---|---|', ...lines].join('\n')
}

function standard(fallback: string): string {
  if (['', 'required', 'alternative'].includes(fallback)) return fallback
  return `\`${fallback.startsWith('[') ? stringify(JSON.parse(fallback), flow).trim() : fallback}\``
}

const flow = { collectionStyle: 'flow', lineWidth: 0, flowCollectionPadding: false } as const

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
