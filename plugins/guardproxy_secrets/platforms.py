"""The rules for cloud providers, code, packages and models. Data only."""

from guardproxy_secrets.checks import crc32, jwt, mixed, unpublished
from guardproxy_secrets.rule import BASE64, HEX, URL_SAFE, WORD, Rule, exact, of, run

PLATFORMS: tuple[Rule, ...] = (
    # Cloud providers
    *of(
        "Amazon Web Services",
        (
            exact(
                "AWS_ACCESS_KEY",
                prefix,
                16,
                "[A-Z2-7]",
                unlike=(f"{prefix}IOSFODNN7EXAMPLE", f"{prefix}IOSF0189NN7QRSTU"),
            )
            for prefix in ("AKIA", "ASIA", "ABIA", "ACCA")
        ),
        run("AWS_BEDROCK_KEY", "ABSK", 80, BASE64),
        run("AWS_BEDROCK_KEY", "bedrock-api-key-", 40, BASE64),
    ),
    *of(
        "Google",
        exact("GOOGLE_API_KEY", "AIza", 35, URL_SAFE, check=unpublished),
        run("GOOGLE_OAUTH_SECRET", "GOCSPX-", 24),
        run("GOOGLE_API_KEY", "AQ.Ab", 40),
        run("GOOGLE_OAUTH_TOKEN", "ya29.", 30, "[A-Za-z0-9_.-]"),
        run("GOOGLE_OAUTH_TOKEN", "1//0", 40),
        run("GOOGLE_FCM_KEY", ":APA91b", 60, URL_SAFE, "[A-Za-z0-9_-]{11}:APA91b", sample="{11w}:APA91b"),
    ),
    *of(
        "Microsoft Azure",
        Rule(
            "AZURE_CLIENT_SECRET",
            "Q~",
            "[A-Za-z0-9_~.]{3}[0-9]Q~",
            "[A-Za-z0-9_~.-]",
            31,
            34,
            sample="{3w}7Q~",
        ),
        Rule("AZURE_DEVOPS_TOKEN", "AZDO", "[A-Za-z0-9]{76}AZDO", WORD, 4, 4, sample="{76w}AZDO", entropy=0),
        run("AZURE_STORAGE_KEY", "AccountKey=", 40, BASE64),
        run("AZURE_SAS_TOKEN", "SharedAccessKey=", 40, BASE64),
        run("AZURE_SAS_TOKEN", "SharedAccessSignature=", 40, "[A-Za-z0-9+/=%&]"),
        run("AZURE_SAS_TOKEN", "sig=", 40, "[A-Za-z0-9+/=%]", "[?&;]sig=", sample="?sig="),
    ),
    *of("Alibaba Cloud", exact("ALIBABA_ACCESS_KEY", "LTAI", 20)),
    *of("Tencent Cloud", exact("TENCENT_SECRET_ID", "AKID", 32)),
    *of(
        "DigitalOcean",
        exact("DIGITALOCEAN_TOKEN", "dop_v1_", 64, HEX),
        exact("DIGITALOCEAN_TOKEN", "doo_v1_", 64, HEX),
        exact("DIGITALOCEAN_TOKEN", "dor_v1_", 64, HEX),
    ),
    *of("Heroku", run("HEROKU_API_KEY", "HRKU-", 36)),
    *of(
        "Yandex Cloud",
        run("YANDEX_CLOUD_KEY", "AQVN", 35, URL_SAFE),
        run("YANDEX_CLOUD_TOKEN", "t1.", 60, "[A-Za-z0-9_=.-]", "t1\\.[A-Z0-9a-z_-]", sample="t1.9"),
    ),
    *of("Scalingo", run("SCALINGO_TOKEN", "tk-us-", 40)),
    *of(
        "Fly.io",
        run("FLYIO_TOKEN", "fo1_", 43),
        run("FLYIO_TOKEN", "FlyV1 fm", 40, "[A-Za-z0-9+/=,_]", "FlyV1 fm[12][ar]?_", sample="FlyV1 fm2_"),
        run("FLYIO_TOKEN", "fm1r_", 40, "[A-Za-z0-9+/=,_]"),
        run("FLYIO_TOKEN", "fm2_", 40, "[A-Za-z0-9+/=,_]"),
    ),
    *of(
        "Cloudflare",
        # 40 characters and the checksum
        exact("CLOUDFLARE_KEY", "cfk_", 48),
        exact("CLOUDFLARE_TOKEN", "cfut_", 48),
        exact("CLOUDFLARE_TOKEN", "cfat_", 48),
        run("CLOUDFLARE_ORIGIN_CA_KEY", "v1.0-", 60, HEX, "v1\\.0-[a-f0-9]{24}-", sample="v1.0-{24h}-"),
    ),
    *of(
        "Vercel",
        # personal, integration, app's access and refresh, AI gateway
        (run("VERCEL_TOKEN", prefix, 40, WORD) for prefix in ("vcp_", "vci_", "vca_", "vcr_", "vck_")),
        run("VERCEL_BLOB_TOKEN", "vercel_blob_rw_", 40, "[A-Za-z0-9_]"),
    ),
    *of("Netlify", run("NETLIFY_TOKEN", "nfp_", 36)),
    *of("Supabase", run("SUPABASE_TOKEN", "sbp_", 40), run("SUPABASE_SECRET_KEY", "sb_secret_", 24)),
    *of(
        "PlanetScale",
        run("PLANETSCALE_PASSWORD", "pscale_pw_", 32, "[A-Za-z0-9_=.-]"),
        run("PLANETSCALE_TOKEN", "pscale_tkn_", 32, "[A-Za-z0-9_=.-]"),
        run("PLANETSCALE_OAUTH_TOKEN", "pscale_oauth_", 32, "[A-Za-z0-9_=.-]"),
    ),
    *of("Pulumi", exact("PULUMI_TOKEN", "pul-", 40, HEX)),
    *of(
        "HashiCorp",
        exact(
            "HASHICORP_VAULT_TOKEN",
            "s.",
            24,
            check=mixed,
            unlike=("s.THISSTRINGISALLUPPERCASE", "s.defaultListableBeanFacto"),
        ),
        run("HASHICORP_VAULT_TOKEN", "hvs.", 24),
        run("HASHICORP_VAULT_TOKEN", "hvb.", 24),
        run("HASHICORP_VAULT_TOKEN", "hvr.", 24),
        run(
            "HASHICORP_TERRAFORM_TOKEN",
            ".atlasv1.",
            60,
            "[A-Za-z0-9_=-]",
            "[A-Za-z0-9]{14}\\.atlasv1\\.",
            sample="{14w}.atlasv1.",
        ),
    ),
    *of("Infracost", run("INFRACOST_KEY", "ico-", 32, WORD)),
    *of("OpenShift", run("OPENSHIFT_TOKEN", "sha256~", 43)),
    *of(
        "Databricks",
        run("DATABRICKS_TOKEN", "dapi", 32, "[a-f0-9-]"),
        exact("DATABRICKS_TOKEN", "dkea", 32, HEX),
        exact("DATABRICKS_TOKEN", "dose", 32, HEX),
    ),
    *of("Clojars", exact("CLOJARS_TOKEN", "CLOJARS_", 60, "[a-z0-9]")),
    # JSON Web Tokens: base64 of `{"alg":`, `{"typ":` and the like
    *of(
        "JSON Web Tokens (RFC 7519)",
        (
            run("JSON_WEB_TOKEN", prefix, 32, "[A-Za-z0-9_.-]", check=jwt)
            for prefix in ("eyJhbGciOi", "eyJ0eXAiOi", "eyJraWQiOi", "eyJqa3UiOi", "eyJjdHkiOi", "eyJ4NXQiOi")
        ),
    ),
    # base64 of a PEM private key, as in a kubeconfig's client-key-data
    *of(
        "PEM (RFC 7468)",
        (
            run("PRIVATE_KEY", prefix, 40, BASE64)
            for prefix in (
                *("LS0tLS1CRUdJTiBSU0EgUFJJ", "LS0tLS1CRUdJTiBFQyBQUkl", "LS0tLS1CRUdJTiBQUklWQVRF"),
                *("LS0tLS1CRUdJTiBPUEVOU1NI", "LS0tLS1CRUdJTiBFTkNSWVBURUQgUFJJ"),
            )
        ),
    ),
    # Code and packages
    *of(
        "GitHub",
        (exact("GITHUB_TOKEN", f"gh{kind}_", 36, check=crc32) for kind in "pousr"),
        # refresh tokens, and an installation's: the app's number and a web token
        exact("GITHUB_TOKEN", "hr_", 76, WORD, "ghr_", sample="ghr_"),
        run("GITHUB_TOKEN", "hs_", 40, "[A-Za-z0-9_.-]", "ghs_[0-9]{1,12}_eyJ", sample="ghs_{6d}_eyJ"),
        run("GITHUB_TOKEN", "github_pat_", 40, "[A-Za-z0-9_]"),
    ),
    *of(
        "GitLab",
        (
            run("GITLAB_TOKEN", prefix, 20, "[A-Za-z0-9_.-]")
            for prefix in (
                *("glpat-", "glptt-", "gldt-", "glrt-", "glft-", "glsoat-", "glcbt-", "glimt-", "glagent-"),
                *("gloas-", "glffct-", "GR1348941", "glwt-", "glrtr-"),
            )
        ),
        exact("GITLAB_TOKEN", "_gitlab_session=", 32),
    ),
    *of("npm", exact("NPM_TOKEN", "npm_", 36, check=crc32)),
    *of(
        "PyPI",
        run("PYPI_TOKEN", "pypi-AgEIcHlwaS5vcmc", 50),
        run("PYPI_TOKEN", "pypi-AgENdGVzdC5weXBpLm9yZw", 50),
    ),
    *of("RubyGems", exact("RUBYGEMS_TOKEN", "rubygems_", 48, HEX)),
    *of("crates.io", exact("CRATES_TOKEN", "cio", 32)),
    *of("NuGet", run("NUGET_KEY", "oy2", 43, "[a-z0-9]")),
    *of("Docker", run("DOCKER_TOKEN", "dckr_pat_", 24), run("DOCKER_TOKEN", "dckr_oat_", 24)),
    *of("JFrog", run("JFROG_KEY", "AKCp", 60, WORD), run("JFROG_TOKEN", "cmVmdGtu", 48, WORD)),
    *of(
        "Atlassian",
        run("ATLASSIAN_TOKEN", "ATATT3", 60, "[A-Za-z0-9_=-]"),
        run("ATLASSIAN_TOKEN", "ATCTT3", 60, "[A-Za-z0-9_=-]"),
        exact("TRELLO_TOKEN", "ATTA", 72, "[a-fA-F0-9]"),
    ),
    *of("Bitbucket", run("BITBUCKET_TOKEN", "ATBB", 24, WORD)),
    *of(
        "Sonar",
        exact("SONAR_TOKEN", "squ_", 40, HEX),
        exact("SONAR_TOKEN", "sqp_", 40, HEX),
        exact("SONAR_TOKEN", "sqa_", 40, HEX),
    ),
    *of(
        "Sourcegraph",
        exact(
            "SOURCEGRAPH_TOKEN",
            "sgp_",
            40,
            "[a-fA-F0-9]",
            "sgp_(?:[a-fA-F0-9]{16}_|local_)?",
            sample="sgp_{16h}_",
        ),
    ),
    *of("Snyk", run("SNYK_TOKEN", "snyk_", 36)),
    *of("CircleCI", run("CIRCLECI_TOKEN", "CCIPAT_", 40, "[A-Za-z0-9_]")),
    *of("Buildkite", run("BUILDKITE_TOKEN", "bkua_", 36)),
    *of(
        "Harness",
        run("HARNESS_KEY", "pat.", 60, "[A-Za-z0-9_.-]", "pat\\.[A-Za-z0-9_-]{22}\\.", sample="pat.{22w}."),
        run("HARNESS_KEY", "sat.", 60, "[A-Za-z0-9_.-]", "sat\\.[A-Za-z0-9_-]{22}\\.", sample="sat.{22w}."),
    ),
    # Machine learning
    *of(
        "OpenAI",
        run("OPENAI_API_KEY", "sk-proj-", 40),
        run("OPENAI_API_KEY", "sk-svcacct-", 40),
        run("OPENAI_API_KEY", "sk-admin-", 40),
        exact("OPENAI_API_KEY", "sk-", 48),
        # `sk-`, and for a while the name of a service account
        run(
            "OPENAI_API_KEY",
            "T3BlbkFJ",
            20,
            WORD,
            "sk-(?:[A-Za-z0-9-]{1,32}-)?[A-Za-z0-9]{20}T3BlbkFJ",
            sample="sk-{20w}T3BlbkFJ",
        ),
    ),
    *of("DeepSeek, Moonshot and others", exact("MODEL_API_KEY", "sk-", 32, HEX)),
    *of("Anthropic", run("ANTHROPIC_API_KEY", "sk-ant-", 90)),
    *of("OpenRouter", run("OPENROUTER_API_KEY", "sk-or-v1-", 40, HEX)),
    *of("LangChain", run("LANGCHAIN_KEY", "lsv2_", 32, "[a-f0-9_]", "lsv2_(?:pt|sk)_", sample="lsv2_pt_")),
    *of("Hugging Face", exact("HUGGINGFACE_TOKEN", "hf_", 34), exact("HUGGINGFACE_TOKEN", "api_org_", 34)),
    *of("Replicate", exact("REPLICATE_TOKEN", "r8_", 37)),
    *of("Groq", exact("GROQ_API_KEY", "gsk_", 52)),
    *of("Perplexity", run("PERPLEXITY_API_KEY", "pplx-", 48, WORD)),
    *of("xAI", run("XAI_API_KEY", "xai-", 70, WORD)),
    *of("NVIDIA", run("NVIDIA_API_KEY", "nvapi-", 50)),
    *of("ElevenLabs", run("ELEVENLABS_API_KEY", "sk_", 48, HEX)),
    *of("Tavily", run("TAVILY_API_KEY", "tvly-", 28)),
    *of("Pinecone", run("PINECONE_API_KEY", "pcsk_", 50)),
    *of("Together", run("TOGETHER_API_KEY", "tgp_v1_", 40)),
    *of("Cerebras", exact("CEREBRAS_API_KEY", "csk-", 48)),
    *of("Jina", run("JINA_API_KEY", "jina_", 50)),
    *of("Firecrawl", exact("FIRECRAWL_API_KEY", "fc-", 32, HEX)),
    *of("RunPod", run("RUNPOD_API_KEY", "rpa_", 36, WORD)),
    *of("Weights & Biases", run("WANDB_KEY", "wandb_v1_", 60)),
    *of("Fireworks", exact("FIREWORKS_API_KEY", "fw_", 24, check=mixed)),
    *of("Voyage", exact("VOYAGE_API_KEY", "pa-", 43, URL_SAFE)),
    *of("E2B", exact("E2B_API_KEY", "e2b_", 40, HEX)),
    *of("Apify", exact("APIFY_TOKEN", "apify_api_", 36)),
    *of("Anyscale", run("ANYSCALE_SECRET", "esecret_", 24, WORD)),
    *of("Helicone", run("HELICONE_KEY", "sk-helicone-", 24)),
    *of("Langfuse", run("LANGFUSE_KEY", "sk-lf-", 36)),
)
