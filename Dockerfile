# The service alone; compose.yaml adds PostgreSQL.
FROM python:3.11-slim

# The OpenAI SDK trusts the system's certificates, which the slim image may lack.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /app artify \
    && install -d -o artify -g artify /data /data/images

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY . .

# Images, and everything else without a PostgreSQL in DATABASE_URL, are kept in this volume.
RUN ln -s /data/artify.db artify.db && ln -s /data/images images
VOLUME /data
USER artify
ENV PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:${PORT:-8000}/health', timeout=4)"
# HOST has no say: inside a container, nothing else reaches the service.
CMD exec env HOST=0.0.0.0 PORT=${PORT:-8000} WORKERS=${WORKERS:-4} python main.py
