/** TLS with client certificates: curl and openssl s_client against nginx. Starlane passes the bytes and sees none of it. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Application, Stage } from './support/application.ts'
import { makeCertificates } from './support/certificates.ts'

const port = 8443
const serverName = 'server.test'

export const tls: Application = {
  name: 'tls',
  needs: ['nginx', 'openssl', 'curl'],
  port,
  protocols: ['TCP'],
  stopSignal: 'SIGQUIT',
  prepare: folder => makeCertificates(folder, [serverName]),
  server: async ({ ip, name, folder }, shared) => {
    const file = join(folder, 'nginx.conf')
    await writeFile(
      file,
      `daemon off; pid ${folder}/pid; error_log stderr crit; worker_processes 1;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  server {
    listen ${ip}:${port} ssl; keepalive_timeout 300s;
    ssl_certificate ${shared}/server.crt; ssl_certificate_key ${shared}/server.key;
    ssl_client_certificate ${shared}/ca.crt; ssl_verify_client on;
    location / { return 200 "${name} $ssl_client_s_dn\\n"; }
  }
}
`,
    )
    return ['nginx', '-c', file, '-p', folder, '-e', 'stderr']
  },
  once: async (place, { host, port }, shared) => {
    const answer = await place.run([
      ...[
        'curl',
        '-sS',
        '--fail',
        '--max-time',
        '45',
        '--cacert',
        `${shared}/ca.crt`,
        '--cert',
        `${shared}/client.crt`,
      ],
      ...['--key', `${shared}/client.key`, '--connect-to', `::${host}:${port}`, `https://${serverName}/`],
    ])
    const [name = '', subject] = answer.trim().split(' ')
    assert.equal(subject, 'CN=client', answer)
    return name
  },
  session: async (place, { host, port }, { shared }) => {
    const client = place.open([
      ...[
        'openssl',
        's_client',
        '-quiet',
        '-verify_return_error',
        '-verify_hostname',
        serverName,
        '-CAfile',
        `${shared}/ca.crt`,
      ],
      ...['-cert', `${shared}/client.crt`, '-key', `${shared}/client.key`, '-connect', `${host}:${port}`],
    ])
    return {
      use: async timeoutMs => {
        client.say(`GET / HTTP/1.1\r\nHost: ${serverName}\r\n\r`)
        return (await client.hear(/^([a-z]+) CN=client$/, timeoutMs))[1] ?? ''
      },
      close: () => client.kill(),
    }
  },
  own: { 'without a certificate': withoutCertificate },
}

/** The answer of the server, and not an error of ours. */
async function withoutCertificate(stage: Stage): Promise<void> {
  const { host } = stage.target
  const answer = await stage.place.run([
    ...['curl', '-sS', '--max-time', '45', '--cacert', `${stage.shared}/ca.crt`, '--connect-to', `::${host}:${port}`],
    `https://${serverName}/`,
  ])
  assert.match(answer, /No required SSL certificate was sent/)
}
