import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { open as openCiphertext, parseStoredKey } from '../../src/keys/index.ts';
import { DareOpener, darePlainLength, DareSealer, planDare } from '../../src/formats/dare.ts';
import {
  formatMinioMetadata,
  minioDataKeyContext,
  minioStreamKey,
  minioVersions,
  newMinioObjectKey,
  openMinioChecksum,
  openMinioEtag,
  openMinioObjectKey,
  parseMinioMetadata,
  sealMinioEtag,
  sealMinioObjectKey,
  type MinioEncryption,
  type MinioMode,
} from '../../src/sse/minio.ts';

interface Vector {
  readonly id: string;
  readonly bucket: string;
  readonly object: string;
  readonly sse: MinioMode;
  readonly plaintext: {
    readonly len: number;
    readonly sha256: string;
    readonly generator: { readonly seed: string };
  };
  /** Values are base64 of the stored bytes. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly user_metadata: { readonly etag: string };
  readonly etag_from_api: string;
  readonly parts: readonly {
    readonly number: number;
    readonly size: number;
    readonly actual_size: number;
    readonly packages: number;
    readonly data_b64?: string;
    readonly first_package_b64?: string;
    readonly last_package_b64?: string;
  }[];
  readonly kes_key: { readonly name: string; readonly stored: string } | null;
  readonly associated_data_b64: string | null;
  readonly sse_c_key_b64: string | null;
}

const folder = path.join(import.meta.dirname, '../vectors/minio');
const vectors = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')) as Vector);

/** The plaintext generator of the vectors: SHA-256 of seed and a counter. */
function generate({ len, generator: { seed } }: Vector['plaintext']): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 32 < len; i++) {
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64LE(BigInt(i));
    blocks.push(createHash('sha256').update(seed).update(counter).digest());
  }
  return Buffer.concat(blocks).subarray(0, len);
}

function storedMetadata({ metadata }: Vector): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata).map(([name, value]) => [name, Buffer.from(value, 'base64').toString('latin1')]),
  );
}

function externalKeyOf(vector: Vector, encryption: MinioEncryption): Buffer {
  if (vector.sse_c_key_b64 !== null) return Buffer.from(vector.sse_c_key_b64, 'base64');
  const master = parseStoredKey(Buffer.from(vector.kes_key!.stored, 'utf8'));
  return openCiphertext(master, encryption.wrappedKey!, minioDataKeyContext(vector, encryption.context));
}

function openAll(key: Buffer, sealed: Buffer, options: ConstructorParameters<typeof DareOpener>[1]): Buffer {
  const opener = new DareOpener(key, options);
  const out: Buffer[] = [];
  opener.update(sealed, out);
  opener.final(out);
  return Buffer.concat(out);
}

t.ok(vectors.length >= 27, `${vectors.length} stored objects`);
for (const vector of vectors) {
  t.test(`${vector.id}: what MinIO stored opens`, (t) => {
    const encryption = parseMinioMetadata(storedMetadata(vector))!;
    t.equal(encryption.mode, vector.sse);
    t.equal(encryption.keyName, vector.kes_key?.name);
    if (vector.associated_data_b64 !== null) {
      const asked = Buffer.from(vector.associated_data_b64, 'base64').toString();
      t.equal(
        minioDataKeyContext(vector, encryption.context).toString(),
        asked,
        'the same context, byte for byte',
      );
    }
    const objectKey = openMinioObjectKey(encryption, externalKeyOf(vector, encryption), vector);

    const plain = generate(vector.plaintext);
    t.equal(createHash('sha256').update(plain).digest('hex'), vector.plaintext.sha256);
    let at = 0;
    for (const part of vector.parts) {
      const key = minioStreamKey(encryption, objectKey, part.number);
      const wanted = plain.subarray(at, (at += part.actual_size));
      t.equal(darePlainLength(part.size), part.actual_size);
      const versions = minioVersions(encryption);
      if (part.data_b64 !== undefined) {
        const sealed = Buffer.from(part.data_b64, 'base64');
        t.ok(
          openAll(key, sealed, { versions, plainBytes: part.actual_size }).equals(wanted),
          `part ${part.number}`,
        );
        if (part.actual_size > 10) {
          const range = { from: part.actual_size - 7, to: part.actual_size - 2 };
          const { sealed: span, window } = planDare(range, part.actual_size);
          const cut = openAll(key, sealed.subarray(span.from, span.to), { versions, window });
          t.ok(cut.equals(wanted.subarray(range.from, range.to)), `a range of part ${part.number}`);
        }
      } else {
        const pieces = [
          { range: { from: 0, to: 65_536 }, sealed: part.first_package_b64! },
          {
            range: { from: 65_536 * (part.packages - 1), to: part.actual_size },
            sealed: part.last_package_b64!,
          },
        ];
        for (const { range, sealed } of pieces) {
          const { window } = planDare(range, part.actual_size);
          const opened = openAll(key, Buffer.from(sealed, 'base64'), { versions, window });
          t.ok(
            opened.equals(wanted.subarray(range.from, range.to)),
            `package at ${range.from} of part ${part.number}`,
          );
        }
      }
    }
    t.equal(at, vector.plaintext.len);

    const { etag } = vector.user_metadata;
    const md5 = openMinioEtag(objectKey, etag);
    if (encryption.isMultipart) t.equal(md5, undefined, 'an ETag of parts is not sealed');
    else if (vector.sse === 'SSE-S3')
      t.equal(md5, createHash('md5').update(plain).digest('hex'), 'the ETag hides the MD5');
    else t.equal(md5?.length, 32, 'the ETag opens; it hides random bytes');
    const shown =
      encryption.isMultipart || vector.sse !== 'SSE-S3' ? etag.slice(encryption.isMultipart ? 0 : -32) : md5;
    t.equal(shown, vector.etag_from_api);

    const sum = vector.metadata['x-minio-internal-crc'];
    if (sum !== undefined) {
      const checksum = openMinioChecksum(objectKey, Buffer.from(sum, 'base64'));
      const crc = Buffer.alloc(4);
      crc.writeUInt32BE(crc32(plain));
      t.ok(
        checksum.equals(Buffer.concat([Buffer.of(9), crc])) ||
          checksum.equals(Buffer.concat([Buffer.of(3), createHash('sha256').update(plain).digest()])),
        "the client's checksum opens, and is that of the plaintext",
      );
    }

    t.throws(() => openMinioObjectKey(encryption, randomBytes(32), vector), {
      code: 'SELLO_OBJECT_NOT_AUTHENTIC',
    });
    const elsewhere = { bucket: vector.bucket, object: `${vector.object}2` };
    t.throws(() => openMinioObjectKey(encryption, externalKeyOf(vector, encryption), elsewhere), {
      code: 'SELLO_OBJECT_NOT_AUTHENTIC',
    });
    t.end();
  });

  t.test(`${vector.id}: metadata is written as MinIO wrote it`, (t) => {
    const stored = storedMetadata(vector);
    const ours = formatMinioMetadata(parseMinioMetadata(stored)!);
    const theirs = Object.fromEntries(
      Object.entries(stored).filter(([name]) =>
        /-Server-Side-Encryption-|-Encrypted-Multipart$|-actual-size$/.test(name),
      ),
    );
    t.same(ours, theirs);
    t.end();
  });
}

t.test('the length of an object in parts is a number', (t) => {
  const stored = storedMetadata(vectors.find(({ id }) => id === 'mpu-s3')!);
  t.equal(parseMinioMetadata(stored)!.plainBytes, 5_313_880);
  for (const length of ['', '-1', '5e3', '99999999999999999999', ' 7'])
    t.throws(() => parseMinioMetadata({ ...stored, 'X-Minio-Internal-actual-size': length }), {
      code: 'SELLO_OBJECT_FORMAT_UNKNOWN',
    });
  t.end();
});

t.test('what we seal opens again, in each mode, and moves by its object key alone', (t) => {
  for (const mode of ['SSE-S3', 'SSE-KMS', 'SSE-C'] as const) {
    for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
      const external = randomBytes(32);
      const objectKey = newMinioObjectKey(external);
      const place = { bucket: 'b', object: 'a/b' };
      const more = mode === 'SSE-C' ? {} : { keyName: 'k', wrappedKey: Buffer.from('wrapped') };
      const written = formatMinioMetadata({
        ...sealMinioObjectKey(mode, objectKey, external, place, aead),
        ...more,
        isMultipart: true,
        context: mode === 'SSE-KMS' ? { team: 'a<b' } : {},
      });
      const read = parseMinioMetadata(written)!;
      t.same([read.mode, read.isMultipart], [mode, true]);
      t.ok(openMinioObjectKey(read, external, place).equals(objectKey));
      t.ok(
        openMinioObjectKey(read, external, { bucket: 'b', object: 'a//b/' }).equals(objectKey),
        'cleaned as MinIO cleans',
      );
      const moved = {
        ...read,
        ...sealMinioObjectKey(mode, objectKey, external, { bucket: 'c', object: 'd' }),
      };
      t.ok(openMinioObjectKey(moved, external, { bucket: 'c', object: 'd' }).equals(objectKey));
      const otherMode = mode === 'SSE-S3' ? 'SSE-KMS' : 'SSE-S3';
      t.throws(() => openMinioObjectKey({ ...read, mode: otherMode }, external, place), {
        code: 'SELLO_OBJECT_NOT_AUTHENTIC',
      });
      const md5 = createHash('md5').update('x').digest();
      t.equal(openMinioEtag(objectKey, sealMinioEtag(objectKey, md5, aead)), md5.toString('hex'));
    }
  }
  t.end();
});

t.test('an object of before 2018 opens, and nobody can make a newer one look like it', (t) => {
  const external = randomBytes(32);
  const iv = randomBytes(32);
  const objectKey = randomBytes(32);
  const out: Buffer[] = [];
  const sealer = new DareSealer(createHash('sha256').update(external).update(iv).digest());
  sealer.update(objectKey, out);
  sealer.final(out);
  const old: MinioEncryption = {
    mode: 'SSE-C',
    isMultipart: false,
    sealAlgorithm: 'DARE-SHA256',
    iv,
    sealedKey: Buffer.concat(out),
    context: {},
  };
  const place = { bucket: 'b', object: 'o' };
  t.ok(openMinioObjectKey(old, external, place).equals(objectKey));
  t.same(minioVersions(old), [1, 2]);
  const modern = { ...old, ...sealMinioObjectKey('SSE-C', objectKey, external, place) };
  t.throws(() => openMinioObjectKey({ ...modern, sealAlgorithm: 'DARE-SHA256' }, external, place), {
    code: 'SELLO_OBJECT_NOT_AUTHENTIC',
  });
  t.end();
});

t.test('metadata that is not whole is refused, and none is none', (t) => {
  const whole = storedMetadata(vectors.find(({ id }) => id === 's3-000016')!);
  t.equal(parseMinioMetadata({ 'content-type': 'text/plain' }), undefined);
  const name = (part: string): string => Object.keys(whole).find((each) => each.endsWith(part))!;
  for (const part of [
    '-Iv',
    '-S3-Kms-Key-Id',
    '-S3-Kms-Sealed-Key',
    'Encryption-S3-Sealed-Key',
    '-Seal-Algorithm',
  ]) {
    const { [name(part)]: _gone, ...rest } = whole;
    t.throws(() => parseMinioMetadata(rest), { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' }, `without ${part}`);
    if (part === '-S3-Kms-Key-Id') continue;
    const broken = { ...whole, [name(part)]: '!' };
    t.throws(() => parseMinioMetadata(broken), { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' }, `a broken ${part}`);
  }
  t.throws(() => parseMinioMetadata({ ...whole, [name('-Iv').toLowerCase()]: whole[name('-Iv')]! }), {
    code: 'SELLO_OBJECT_FORMAT_UNKNOWN',
  });
  t.throws(
    () =>
      parseMinioMetadata({
        ...whole,
        'x-minio-internal-server-side-encryption-sealed-key': whole[name('Encryption-S3-Sealed-Key')]!,
      }),
    { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' },
  );
  t.end();
});
