/** Removes secrets from texts that leave the machine: by what is known to be one, by the name of its key, and by its form. */
import { type Document, isPair, isScalar, parseAllDocuments, visit } from 'yaml'

export const mark = '[redacted]'

/** Names of keys whose values are secrets. Files named by `key`, `ca` and `cert` are not: a path says nothing. */
const secretName =
  /pass(word|phrase|wd)?$|secret$|token$|credential(s)?$|api[-_]?key$|private[-_]?key$|^auth(orization)?$|(^|[-_])(key|cert)[-_]data$|^dsn$/i

const forms: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g, mark],
  // JSON Web Tokens, which are also the tokens of ServiceAccounts.
  [/\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g, mark],
  [/\b(Bearer|Basic) +[\w.~+/=-]{8,}/g, `$1 ${mark}`],
  // user:password@ of a URL.
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@"']*@/gi, `$1${mark}@`],
]

/** Shorter ones are words and numbers that stand in many places. */
const leastLength = 6

export class Redactor {
  #known = new Set<string>()

  /** A value that is a secret, with its base64 forms and its lines if it has several. */
  add(secret: string): void {
    const lines = secret.split('\n').map(line => line.trim())
    for (const text of [secret.trim(), ...lines.filter(line => !/^-----/.test(line))]) {
      if (text.length < leastLength) continue
      const bytes = Buffer.from(text)
      for (const form of [text, bytes.toString('base64').replace(/=+$/, ''), encodeURIComponent(text)])
        this.#known.add(form)
    }
  }

  text(text: string): string {
    let out = text
    // The longest first, since one may be part of another.
    for (const secret of [...this.#known].sort((a, b) => b.length - a.length)) out = out.replaceAll(secret, mark)
    for (const [form, replacement] of forms) out = out.replace(form, replacement)
    return out
  }

  /** A YAML text with comments; values of secret names are replaced, whatever they are. */
  yaml(text: string): string {
    const documents = parseAllDocuments(text) as Document.Parsed[]
    for (const document of documents)
      redactTree(
        document,
        secret => this.add(secret),
        text => this.yaml(text),
      )
    return this.text(documents.map(document => document.toString({ lineWidth: 0 })).join(''))
  }

  /** Anything that JSON can say. */
  json(value: unknown): string {
    const redacted = JSON.stringify(value, (key, inner) => (isSecretName(key) && isLeaf(inner) ? mark : inner), 2)
    return this.text(redacted ?? 'null')
  }
}

export function isSecretName(key: string): boolean {
  return secretName.test(key)
}

function isLeaf(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number'
}

/** `inner`: redacts a YAML text in a value, as ConfigMaps have them. */
function redactTree(document: Document.Parsed, found: (secret: string) => void, inner: (text: string) => string): void {
  visit(document, {
    Pair(_, pair) {
      if (!isPair(pair) || !isScalar(pair.key)) return undefined
      const name = String(pair.key.value)
      if (/\.ya?ml$/.test(name) && isScalar(pair.value)) pair.value.value = inner(String(pair.value.value))
      if (!isSecretName(name)) return undefined
      visit(document.createNode(pair.value) as never, {
        Scalar(_, scalar) {
          // A reference to a variable is no secret, its value is.
          if (!/^\$\{\w+\}$/.test(String(scalar.value))) found(String(scalar.value))
        },
      })
      pair.value = document.createNode(mark) as never
      return visit.SKIP
    },
  })
}
