/** Certificates for tests, issued with openssl. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface KeyPair {
  readonly cert: string
  readonly key: string
}

/** A certificate authority of the test's own, by openssl. */
export class Authority {
  readonly cert: string
  readonly #folder = mkdtempSync(join(tmpdir(), 'starlane-ca-'))
  #serial = 1

  constructor(name = 'test authority') {
    this.#openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      'ca.key',
      '-out',
      'ca.crt',
    )
    this.cert = this.#read('ca.crt')
  }

  /** `names` as subjectAltName has them: `DNS:localhost`, `IP:127.0.0.1`. */
  issue(commonName: string, names: readonly string[] = []): KeyPair {
    const id = `${this.#serial++}`
    this.#openssl(
      'req',
      '-new',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-subj',
      `/CN=${commonName}`,
      '-keyout',
      `${id}.key`,
      '-out',
      `${id}.csr`,
    )
    writeFileSync(join(this.#folder, `${id}.ext`), names.length > 0 ? `subjectAltName=${names.join(',')}\n` : '')
    this.#openssl(
      'x509',
      '-req',
      '-in',
      `${id}.csr`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-set_serial',
      id,
      '-days',
      '2',
      '-extfile',
      `${id}.ext`,
      '-out',
      `${id}.crt`,
    )
    return { cert: this.#read(`${id}.crt`), key: this.#read(`${id}.key`) }
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #read(file: string): string {
    return readFileSync(join(this.#folder, file), 'utf8')
  }

  #openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { cwd: this.#folder, stdio: 'pipe' })
  }
}
