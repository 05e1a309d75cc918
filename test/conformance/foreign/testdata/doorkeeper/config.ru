# A Rails application with Doorkeeper's default settings: refresh tokens rotate, and an
# old one works until the new access token was used. Without OLD_UNTIL_USED it ends with
# the refresh. There is one user, who is always signed in.
require "action_controller/railtie"
require "active_record/railtie"
require "doorkeeper"

class Site < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.root = __dir__
  config.hosts.clear
  config.secret_key_base = "0" * 64
  config.logger = Logger.new($stderr)
  config.log_level = :warn
  config.action_controller.allow_forgery_protection = false
  config.paths["log"] = "/dev/null"
end

Doorkeeper.configure do
  orm :active_record
  resource_owner_authenticator { Struct.new(:id).new(62515) }
  default_scopes :read
  use_refresh_token
  skip_authorization { true }
  allow_token_introspection true
  force_ssl_in_redirect_uri false
  base_controller "ActionController::Base"
end

class Schema < ActiveRecord::Migration[6.1]
  def change
    create_table :oauth_applications do |t|
      t.string :name, null: false
      t.string :uid, null: false
      t.string :secret, null: false
      t.text :redirect_uri, null: false
      t.string :scopes, null: false, default: ""
      t.boolean :confidential, null: false, default: true
      t.timestamps null: false
    end
    create_table :oauth_access_grants do |t|
      t.bigint :resource_owner_id, null: false
      t.bigint :application_id, null: false
      t.string :token, null: false
      t.integer :expires_in, null: false
      t.text :redirect_uri, null: false
      t.datetime :created_at, null: false
      t.datetime :revoked_at
      t.string :scopes, null: false, default: ""
      t.string :code_challenge
      t.string :code_challenge_method
    end
    create_table :oauth_access_tokens do |t|
      t.bigint :resource_owner_id
      t.bigint :application_id, null: false
      t.string :token, null: false
      t.string :refresh_token
      t.integer :expires_in
      t.datetime :revoked_at
      t.datetime :created_at, null: false
      t.string :scopes
      t.string :previous_refresh_token, null: false, default: "" if ENV["OLD_UNTIL_USED"]
    end
  end
end

Site.initialize!
ActiveRecord::Migration.verbose = false
Schema.new.migrate(:up)
Doorkeeper::Application.create!(name: "client", uid: "client", secret: ENV.fetch("CLIENT_SECRET"), redirect_uri: ENV.fetch("REDIRECT_URI"), scopes: "read")

class MeController < ActionController::Base
  before_action :doorkeeper_authorize!
  def show = render(json: {id: doorkeeper_token.resource_owner_id})
end

Rails.application.routes.draw do
  use_doorkeeper
  get "/me", to: "me#show"
end

run Rails.application
